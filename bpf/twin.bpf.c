/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * The twin: the data plane once more, word for word, that writes nothing but its trace. It is never attached; `fairlead explain` asks it what
 * the live programs would do with a packet, on the live tables. Where a packet's end rests on what was written for it on the way, the
 * trace stands in: see DRY in balance.h and fragment.h.
 */
#define DRY 1
#include "balancer.bpf.c"

struct trace trace = {};

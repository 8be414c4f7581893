/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * The options of a generation: constants set before load, so that the verifier sees their values and removes what they rule out.
 */
#ifndef FAIRLEAD_CONFIG_H
#define FAIRLEAD_CONFIG_H

#include "abi.h"

const volatile struct options options = {};

/*
 * 1 in the twin (twin.bpf.c), which is these very programs with every write compiled out. A constant of the compiler, not an option: the
 * live programs would load an option wherever it is asked for, even where the verifier then removes what it rules out.
 */
#ifndef DRY
#define DRY 0
#endif

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* Between the extension's own files. */
#ifndef FAIRLEAD_INTERNAL_H
#define FAIRLEAD_INTERNAL_H

#include "native.h"

/* Forget what libbpf said before: what follows is about the call at hand. */
void log_restart(void);

#endif

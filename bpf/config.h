/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * The options of a generation: constants set before load, so that the verifier sees their values and removes what they rule out.
 */
#ifndef FAIRLEAD_CONFIG_H
#define FAIRLEAD_CONFIG_H

#include "abi.h"

const volatile struct options options = {};

#endif

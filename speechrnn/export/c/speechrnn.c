/* Sound to words; see speechrnn.h. In the order of this file, which is the way of the sound: log-mel frames,
 * convolutions, recurrent stack, probabilities, decision; and at the end, the numbers that were learnt. */
#include <float.h>
#include <math.h>
#include <stddef.h>
#include <string.h>

#include "speechrnn.h"

/* @settings@ */

/* Constants. The long ones are defined at the end of this file. */
/* @declarations@ */

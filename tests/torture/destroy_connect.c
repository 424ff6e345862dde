/* netfd_destroy during netfd_connect. */
#include "evict.h"

static void scenario(void) { destroy_during(connects); }

/* netfd_destroy during netfd_copy. */
#include "evict.h"

static void scenario(void) { destroy_during(copies); }

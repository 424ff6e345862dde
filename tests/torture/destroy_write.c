/* netfd_destroy during netfd_write. */
#include "evict.h"

static void scenario(void) { destroy_during(writes); }

/* netfd_destroy during netfd_read. */
#include "evict.h"

static void scenario(void) { destroy_during(reads); }

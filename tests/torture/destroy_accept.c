/* netfd_destroy during netfd_accept. */
#include "evict.h"

static void scenario(void) { destroy_during(accepts); }

/* A token fired during netfd_write. */
#include "evict.h"

static void scenario(void) { cancel_during(writes); }

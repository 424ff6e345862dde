/* A token fired during netfd_read. */
#include "evict.h"

static void scenario(void) { cancel_during(reads); }

/* A token fired during netfd_accept. */
#include "evict.h"

static void scenario(void) { cancel_during(accepts); }

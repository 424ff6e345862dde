/* A token fired during netfd_copy. */
#include "evict.h"

static void scenario(void) { cancel_during(copies); }

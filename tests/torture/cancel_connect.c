/* A token fired during netfd_connect. */
#include "evict.h"

static void scenario(void) { cancel_during(connects); }

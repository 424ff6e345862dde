# Builds and installs the library for C and C++.
#
#   make              builds what is installed, in target/package/
#   make install      DESTDIR= PREFIX=/usr/local LIBDIR=$(PREFIX)/lib INCLUDEDIR=$(PREFIX)/include
#                     MANDIR=$(PREFIX)/share/man
#   make uninstall    with the same variables
#   make html         writes the reference, target/html/netfd.html
#   make check        installs into a folder of its own, and builds and runs consumers from there
#
# `install` builds nothing, so that root needs no compiler and leaves no file of
# its own in target/.

CARGO ?= cargo
PREFIX ?= /usr/local
LIBDIR ?= $(PREFIX)/lib
INCLUDEDIR ?= $(PREFIX)/include
MANDIR ?= $(PREFIX)/share/man
PYTHON ?= python3
INSTALL ?= install

VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
MAJOR := $(word 1,$(subst ., ,$(VERSION)))
MINOR := $(word 2,$(subst ., ,$(VERSION)))
SONAME := libnetfd.so.$(shell sed -n 's/^const SONAME: u32 = \([0-9]*\);/\1/p' build.rs)
FULL := libnetfd.so.$(VERSION)
OUT := target/package
CMAKEDIR = $(LIBDIR)/cmake/netfd
IN = $(DESTDIR)

all: $(OUT)/$(FULL) $(OUT)/man/man7/netfd.7

# cargo knows whether the archive is up to date, and what has to be linked with it.
$(OUT)/libnetfd.a: archive
	@mkdir -p $(OUT)
	$(CARGO) rustc --release --lib --crate-type staticlib --target-dir target -- \
		--print native-static-libs 2>$(OUT)/cargo.log || { cat $(OUT)/cargo.log >&2; exit 1; }
	@sed -n 's/^note: native-static-libs: //p' $(OUT)/cargo.log >$(OUT)/private.new
	@test -s $(OUT)/private.new || { echo 'what the archive needs is not known' >&2; exit 1; }
	@cmp -s $(OUT)/private.new $(OUT)/private || cp $(OUT)/private.new $(OUT)/private
	@cmp -s target/release/libnetfd.a $@ || cp target/release/libnetfd.a $@

# Linked anew, because cargo's shared library has no symbol versions.
$(OUT)/$(FULL): $(OUT)/libnetfd.a packaging/netfd.map
	$(CC) -shared -o $@ \
		$$(nm -g --defined-only $< 2>/dev/null | sed -n 's/.* T \(netfd_.*\)/-Wl,-u,\1/p') $< \
		-Wl,-soname,$(SONAME) -Wl,--version-script=packaging/netfd.map \
		-Wl,--gc-sections,-z,nodelete,-z,relro,-z,now,-z,defs $(LDFLAGS) $$(cat $(OUT)/private)

# Made here and not kept in the repository: the header is the one source.
$(OUT)/man/man7/netfd.7: include/netfd.h $(wildcard tools/manual/*.py)
	rm -rf $(OUT)/man
	$(PYTHON) tools/manual man $(OUT)/man

html:
	$(PYTHON) tools/manual html target/html

install:
	@test -f $(OUT)/$(FULL) -a -f $(OUT)/man/man7/netfd.7 || { echo 'nothing is built yet: run make first' >&2; exit 1; }
	$(INSTALL) -d '$(IN)$(INCLUDEDIR)' '$(IN)$(LIBDIR)/pkgconfig' '$(IN)$(CMAKEDIR)'
	$(INSTALL) -m 644 include/netfd.h '$(IN)$(INCLUDEDIR)/netfd.h'
	$(INSTALL) -m 644 include/netfd.hpp '$(IN)$(INCLUDEDIR)/netfd.hpp'
	$(INSTALL) -m 755 $(OUT)/$(FULL) '$(IN)$(LIBDIR)/$(FULL)'
	$(INSTALL) -m 644 $(OUT)/libnetfd.a '$(IN)$(LIBDIR)/libnetfd.a'
	ln -sf $(FULL) '$(IN)$(LIBDIR)/$(SONAME)'
	ln -sf $(SONAME) '$(IN)$(LIBDIR)/libnetfd.so'
	$(INSTALL) -d '$(IN)$(MANDIR)/man3' '$(IN)$(MANDIR)/man7'
	@echo 'write $(IN)$(MANDIR)'; for page in $(OUT)/man/man?/*; do \
		to="$(IN)$(MANDIR)/$${page#$(OUT)/man/}"; \
		if test -L $$page; then ln -sf "$$(readlink $$page)" "$$to"; \
		else $(INSTALL) -m 644 $$page "$$to"; fi || exit 1; \
	done
	@for file in pkgconfig/netfd.pc cmake/netfd/netfdConfig.cmake cmake/netfd/netfdConfigVersion.cmake; do \
		echo "write $(IN)$(LIBDIR)/$$file"; \
		private=$$(cat $(OUT)/private); \
		from=$$(realpath -m --relative-to='$(CMAKEDIR)' '$(INCLUDEDIR)'); \
		sed -e 's|@PREFIX@|$(PREFIX)|g; s|@LIBDIR@|$(LIBDIR)|g; s|@INCLUDEDIR@|$(INCLUDEDIR)|g' \
			-e 's|@VERSION@|$(VERSION)|g; s|@MAJOR@|$(MAJOR)|g; s|@MINOR@|$(MINOR)|g; s|@SONAME@|$(SONAME)|g' \
			-e "s|@PRIVATE@|$$private|g; s|@PRIVATE_LIST@|$$(echo $$private | tr ' ' ';')|g" \
			-e "s|@INCLUDE_FROM_CMAKE@|$$from|g" \
			packaging/$${file##*/}.in >"$(IN)$(LIBDIR)/$$file" || exit 1; \
	done

uninstall:
	rm -f '$(IN)$(INCLUDEDIR)/netfd.h' '$(IN)$(INCLUDEDIR)/netfd.hpp' '$(IN)$(LIBDIR)/libnetfd.so' '$(IN)$(LIBDIR)/$(SONAME)' \
		'$(IN)$(LIBDIR)/$(FULL)' '$(IN)$(LIBDIR)/libnetfd.a' '$(IN)$(LIBDIR)/pkgconfig/netfd.pc' \
		'$(IN)$(CMAKEDIR)/netfdConfig.cmake' '$(IN)$(CMAKEDIR)/netfdConfigVersion.cmake'
	rm -f '$(IN)$(MANDIR)/man7/netfd.7'
	@for name in $$(sed -n 's/.*[ *]\(netfd_[a-z_]*\)(.*/\1/p' include/netfd.h); do \
		rm -f "$(IN)$(MANDIR)/man3/$$name.3"; \
	done
	-rmdir '$(IN)$(CMAKEDIR)' 2>/dev/null

check: all
	sh packaging/check.sh

.PHONY: all archive html install uninstall check

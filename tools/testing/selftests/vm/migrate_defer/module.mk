# SPDX-License-Identifier: GPL-2.0
# How a module beside these tests is built; included by its kbuild file, which is
# also the makefile that is called to have it built.

MODULE_DIR := $(realpath $(dir $(abspath $(firstword $(MAKEFILE_LIST)))))
Q := $(if $(filter 1,$(V)),,@)
KDIR ?= $(or $(O),$(KBUILD_OUTPUT),/lib/modules/$(shell uname -r)/build)

# The objects of another kernel may look up to date.
modules:
	$(Q)[ "`cat $(MODULE_DIR)/.kdir 2>/dev/null`" = "$(KDIR)" ] || \
		$(MAKE) -C $(KDIR) M=$(MODULE_DIR) clean
	$(Q)echo "$(KDIR)" >$(MODULE_DIR)/.kdir
	$(Q)$(MAKE) -C $(KDIR) M=$(MODULE_DIR) modules

clean:
	$(Q)[ ! -d "$(KDIR)" ] || $(MAKE) -C $(KDIR) M=$(MODULE_DIR) clean
	$(Q)rm -f $(MODULE_DIR)/.kdir

.PHONY: modules clean

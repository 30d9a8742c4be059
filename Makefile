# The commands of this repository.  Each is a small script in harness/.

ARCH ?= x86_64

# An option given to make becomes an option of the script; anything but 1 or 0
# (or nothing) is a mistake.
flag = $(if $(filter-out 0 1,$($(1))),$(error $(1)=$($(1)): use $(1)=1),$(if $(filter 1,$($(1))),$(2)))
kernel = --arch $(ARCH) $(call flag,STOCK,--stock) $(call flag,DEBUG,--debug) \
	 $(if $(VARIANT),--variant $(VARIANT))

known := BASE ARCH STOCK DEBUG VARIANT TREE DRY_RUN KERNEL_SRC BUILD CCACHE_DIR CCACHE_MAXSIZE TESTS \
	 FROM TO COMMITS
given := $(foreach v,$(.VARIABLES),$(if $(filter command line,$(origin $(v))),$(v)))
unknown := $(filter-out $(known) MAKEFLAGS MAKEOVERRIDES -*-command-variables-*-,$(given))
$(if $(unknown),$(error unknown variable: $(unknown) (known: $(known))))

help:
	@echo 'make demo                        from nothing to the tables: install, fetch, build, boot, measure'
	@echo 'make test [TESTS="10 20"]        everything that CI checks'
	@echo 'make test-all                    the same, and the rest, on both bases and architectures'
	@echo 'make kernel [ARCH=x86_64|arm64] [DEBUG=1] [STOCK=1] [VARIANT=name]'
	@echo '                                 build one kernel and its selftests, print the path of the image'
	@echo 'make shell [ARCH=] [DEBUG=1] [STOCK=1]   boot it, interactively'
	@echo 'make tree [KERNEL_SRC=path]      make build/BASE/linux: a git tree, one commit per patch'
	@echo 'make overlay                     copy new files, edited in this repository, into that tree'
	@echo 'make refresh                     write the commits of that tree back into this repository'
	@echo 'make carry FROM=7.3 TO=6.12 [COMMITS=first..last]'
	@echo '                                 carry commits from the tree of one base to the other'
	@echo 'make series                      write a series for git am to build/series/BASE'
	@echo 'make apply TREE=/path/to/linux [DRY_RUN=1]'
	@echo '                                 apply the work to a kernel tree of yours'
	@echo 'make bisect                      build and boot the kernel after each patch, to results/'
	@echo 'make mutants                     remove each hook in turn: a selftest must notice'
	@echo 'make bench                       what the patches cost, in instructions, to results/'
	@echo 'make compare                     against mlock(), mbind() and pins: tables and plots, to results/'
	@echo 'make soak                        all selftests, and 30 minutes of stress, on kernels with all checkers'
	@echo 'make regress                     what else tests the kernel (its selftests, stress-ng), without'
	@echo '                                 and with the patches: compared, to results/'
	@echo 'make coverage                    which lines of our files the selftests reach, to results/'
	@echo 'make lint                        style, sparse, W=1 with gcc and clang, kernel-doc, Sphinx, man, coccicheck, ...'
	@echo 'make randconfig                  compile what is touched in 20 random configurations'
	@echo
	@echo 'harness/guest --help             run a command in a guest'

demo:
	@harness/demo $(if $(filter command line,$(origin ARCH)),--arch $(ARCH))

test:
	@harness/test $(TESTS)

test-all:
	@harness/test --all $(TESTS)

kernel:
	@harness/install-deps --arch $(ARCH)
	@harness/build $(kernel)

shell: kernel
	@harness/guest $(kernel) --shell

tree:
	@harness/tree

overlay:
	@harness/tree --overlay

refresh:
	@harness/refresh

carry:
	@harness/carry '$(FROM)' '$(TO)' $(COMMITS)

series:
	@harness/series

apply:
	@harness/apply $(call flag,DRY_RUN,--dry-run) '$(TREE)'

lint:
	@harness/lint

randconfig:
	@harness/install-deps
	@harness/install-deps --arch arm64
	@harness/randconfig

mutants:
	@harness/mutants

bisect:
	@harness/install-deps --arch $(ARCH)
	@harness/bisect --arch $(ARCH)

compare:
	@harness/install-deps
	@harness/install-deps --arch arm64
	@harness/compare

soak:
	@harness/install-deps
	@harness/install-deps --arch arm64
	@harness/soak

regress:
	@harness/install-deps
	@harness/regress

coverage:
	@harness/install-deps
	@harness/install-deps --arch arm64
	@harness/coverage

bench:
	@harness/install-deps --arch $(ARCH)
	@harness/bench --arch $(ARCH)

.PHONY: help demo test test-all kernel shell tree overlay refresh carry series apply lint randconfig bisect mutants bench compare soak regress coverage

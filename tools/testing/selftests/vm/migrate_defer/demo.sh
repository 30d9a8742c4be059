#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# The comparison that "make demo" shows.
exec "$(dirname "$0")/demo" "$@"

#!/bin/bash
# SPDX-License-Identifier: MIT
# examples/http_server_dma: all that http.sh asks of examples/http_server.
: "${top_builddir:=$PWD}"
HTTP_SERVER=$top_builddir/examples/http_server_dma exec bash "$(dirname "$0")/http.sh"

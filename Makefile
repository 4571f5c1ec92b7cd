# Short names for the usual steps. CMakeLists.txt builds, cargo compiles, scripts/ holds what is longer than a line.

BUILD = build
PREFIX = /usr/local
# A recipe that is no sub-make cannot use the job server: what runs below counts the processors itself.
unexport MAKEFLAGS MFLAGS

.PHONY: help build install demo test bench fmt lint clean

help:
	@echo 'make build                 the library and the C examples, in $(BUILD)/'
	@echo 'make install PREFIX=/path  the header, the libraries and the CMake and pkg-config files (default $(PREFIX))'
	@echo 'make demo                  an echo server under load on each backend'
	@echo 'make test                  all tests; installs what they lack'
	@echo 'make bench                 CPU time beside loops by hand; best with nothing else running'
	@echo 'make fmt                   formats the Rust sources'
	@echo 'make lint                  format check, clippy, and shellcheck where it is installed'
	@echo 'make clean                 removes $(BUILD)/ and target/'

build:
	cmake -S . -B $(BUILD) -DCMAKE_BUILD_TYPE=RelWithDebInfo
	env -u MAKELEVEL cmake --build $(BUILD) -j "$$(nproc)" --target gyre gyre-static gyre-examples

install: build
	cmake --install $(BUILD) --prefix "$(PREFIX)"

demo:
	scripts/demo

test:
	scripts/test

bench:
	-scripts/install-deps /usr/include/liburing.h:liburing-dev
	cmake -S . -B $(BUILD) -DCMAKE_BUILD_TYPE=RelWithDebInfo -DGYRE_BUILD_BENCHES=ON
	env -u MAKELEVEL cmake --build $(BUILD) -j "$$(nproc)" --target gyre-benches
	$(BUILD)/benches/file_read
	$(BUILD)/benches/echo

fmt:
	cargo fmt

lint:
	cargo fmt --check
	cargo clippy --all-targets -- -D warnings
	@if command -v shellcheck >/dev/null; then shellcheck -x scripts/* .ci/run tests/*.sh tests/package/run; \
	else echo 'shellcheck is not installed: the scripts are not checked'; fi

clean:
	rm -rf $(BUILD) target

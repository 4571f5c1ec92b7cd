# Part of tests/package/run: gyre as a subdirectory of another project, and what a second build does.
# shellcheck shell=bash disable=SC2154  # source_dir, here and work come from run

# A project with a copy of the sources in it, in a path with spaces. Built with cargo's dev profile, which is quick.
make_outer_project() {
    mkdir -p "$outer/gyre"
    (cd "$source_dir" && tar -cf - --exclude=./.git --exclude=./build --exclude=./target .) | tar -xf - -C "$outer/gyre"
    cp "$here/programs/program.c" "$outer"
    cat >"$outer/CMakeLists.txt" <<'END'
cmake_minimum_required(VERSION 3.20)
project(outer LANGUAGES C)
add_subdirectory(gyre)
foreach(library gyre gyre-static)
  add_executable(program-${library} program.c)
  target_link_libraries(program-${library} PRIVATE gyre::${library})
endforeach()
if(TARGET gyre-example-01_timer OR TARGET gyre-test-smoke)
  message(FATAL_ERROR "the examples and tests of a subproject are not its parent's business")
endif()
END
    source_files >"$work/before"
}

# All of the sources with their times, but for the two files that are touched here.
source_files() {
    (cd "$outer" && find . -type f ! -path ./gyre/src/lib.rs ! -path ./gyre/Cargo.toml -printf '%p %T@\n' | sort)
}

outer_build() { cmake --build "$tree" -j2; }

configures_and_builds() {
    cmake -S "$outer" -B "$tree" -G "$generator" -DGYRE_PROFILE=dev
    outer_build
    runs "$tree/program-gyre" shared
    runs "$tree/program-gyre-static" static
}

# What the build makes, with the time at which it was made.
products() {
    find "$tree" \( -name '*.a' -o -name '*.so*' -o -name '*.o' -o -name 'exports.*' -o -name 'program-*' \) -type f \
        -printf '%p %T@\n' | sort
}

second_build_does_nothing() {
    products >"$work/products"
    outer_build | tee "$work/output"
    products | same "$work/products" - "products before and after"
    if grep -E 'Compiling|Building|Linking|Listing|Making|Finished' "$work/output"; then return 1; fi
}

# newer NAME...: each of these files is newer than the mark.
newer() {
    local name
    for name in "$@"; do
        [[ -n $(find "$tree" -name "$name" -type f -newer "$work/mark") ]] || { echo "not rebuilt: $name"; return 1; }
    done
}

touched_source_is_rebuilt() {
    touch "$work/mark"
    sleep 0.02 # one tick of the file system's clock
    touch "$outer/gyre/src/lib.rs"
    outer_build
    newer gyre.o "libgyre.so.*" program-gyre-static
    [[ -n $(find "$tree/gyre" -maxdepth 1 -name libgyre.a -newer "$work/mark") ]]
    "$tree/program-gyre"
}

touched_manifest_is_settled() {
    touch "$outer/gyre/Cargo.toml"
    outer_build
    second_build_does_nothing
}

sources_are_untouched() { source_files | same "$work/before" - "the source tree before and after"; }

missing_cargo_is_told() {
    if cmake -S "$outer" -B "$work/no cargo" -DCARGO=/nonexistent/cargo >"$work/output" 2>&1; then return 1; fi
    cat "$work/output"
    grep -q 'needs cargo, which was not found' "$work/output"
}

check_embedded() {
    outer="$work/a path with spaces"
    check "a project in a path with spaces takes in a copy of gyre" make_outer_project
    check "a missing cargo is told at configure time" missing_cargo_is_told
    local generator tree
    for generator in "Unix Makefiles" Ninja; do
        tree="$work/build tree of $generator"
        if [[ $generator == Ninja ]] && ! command -v ninja >/dev/null; then
            echo "ok - Ninja # skipped: ninja is not installed"
            continue
        fi
        check "$generator: add_subdirectory from a path with spaces builds and runs" configures_and_builds
        check "$generator: a second build does nothing" second_build_does_nothing
        check "$generator: a touched src/lib.rs is rebuilt and relinked" touched_source_is_rebuilt
        check "$generator: a build after that does nothing" second_build_does_nothing
        check "$generator: a touched Cargo.toml is built once" touched_manifest_is_settled
    done
    check "the builds left nothing in the source tree" sources_are_untouched
}

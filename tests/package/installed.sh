# Part of tests/package/run: the installed tree, what it exports, and programs built from it in an empty folder.
# shellcheck shell=bash disable=SC2154  # source_dir, build_dir, here and work come from run

strict=(-Wall -Wextra -pedantic -Werror)
c_flags=(-std=c99 "${strict[@]}")
cpp_flags=(-std=c++11 "${strict[@]}")

install_into_empty_prefix() {
    cmake --install "$build_dir" --prefix "$work/first"
    # Moved away from where it was installed: nothing in it may rest on that path.
    mv "$work/first" "$prefix"
    (cd "$prefix" && find . ! -type d | sort) >"$work/installed"
    cat >"$work/expected" <<END
./include/gyre.h
./$libdir/cmake/gyre/gyre-config-version.cmake
./$libdir/cmake/gyre/gyre-config.cmake
./$libdir/cmake/gyre/gyre-targets-CONFIG.cmake
./$libdir/cmake/gyre/gyre-targets.cmake
./$libdir/libgyre.a
./$libdir/libgyre.so
./$libdir/libgyre.so.0
./$libdir/libgyre.so.$version
./$libdir/pkgconfig/gyre.pc
END
    sed -i 's/targets-[a-z]*\.cmake/targets-CONFIG.cmake/' "$work/installed"
    same "$work/expected" "$work/installed" "expected, installed files"
    if grep -rlF -e "$work/first" -e "$build_dir" -e "$source_dir" "$prefix/include" "$lib/cmake" "$lib/pkgconfig"; then
        echo "the files above name a path of this machine"
        return 1
    fi
}

# The compiler's own list of what gyre.h declares.
declared_functions() {
    gcc -std=c99 -fsyntax-only -aux-info "$work/prototypes" -x c "$prefix/include/gyre.h"
    grep -F "include/gyre.h:" "$work/prototypes" | grep -oE '\bgyre_[a-z0-9_]+ \(' | tr -d ' (' | sort -u
}

shared_exports_the_header() {
    declared_functions >"$work/declared"
    [[ -s $work/declared ]]
    # The one absolute symbol is the version node itself.
    nm -D --defined-only "$shared" | awk '$2 != "A" { print $NF }' | sort >"$work/exported"
    sed "s/\$/@@$version_node/" "$work/declared" | same - "$work/exported" "gyre.h, libgyre.so"
    nm -D --defined-only "$shared" | awk '$2 == "A" { print $NF }' | grep -qx "$version_node"
}

static_exports_the_header() {
    declared_functions >"$work/declared"
    nm --defined-only --extern-only "$static" | awk 'NF == 3 { print $3 }' | sort >"$work/exported"
    same "$work/declared" "$work/exported" "gyre.h, libgyre.a"
    [[ $(ar t "$static") == gyre.o ]]
}

every_rust_function_is_declared() {
    declared_functions >"$work/declared"
    nm --defined-only --extern-only "$build_dir"/cargo/*/libgyre.a 2>"$work/nm-errors" |
        awk '$3 ~ /^gyre_/ { print $3 }' | sort >"$work/defined"
    same "$work/declared" "$work/defined" "gyre.h, the Rust sources"
}

dynamic_entries() { readelf -d "$shared" | sed -n "s/.*($1).*\[\(.*\)\]/\1/p"; }

soname_is_right() {
    [[ $(dynamic_entries SONAME) == libgyre.so.0 ]]
    [[ $(readlink "$lib/libgyre.so") == libgyre.so.0 ]]
    [[ $(readlink "$lib/libgyre.so.0") == "libgyre.so.$version" ]]
}

needs_only_the_c_library() {
    dynamic_entries NEEDED
    ! dynamic_entries NEEDED | grep -vE '^(libc\.so\.6|libgcc_s\.so\.1|ld-linux.*)$'
}

is_hardened() {
    readelf -d "$shared" | grep -E 'FLAGS_1.*NOW.*NODELETE'
    readelf -lW "$shared" | grep -q GNU_RELRO
    readelf -lW "$shared" | grep -E 'GNU_STACK.* RW '
    if readelf -d "$shared" | grep -E 'TEXTREL|RPATH|RUNPATH'; then return 1; fi
    if readelf -SW "$shared" | grep -F ' .debug_'; then return 1; fi
}

header_compiles() {
    local std=$1 compiler=gcc language=c extra=(-Wundef -Wstrict-prototypes)
    if [[ $std == c++* ]]; then compiler=g++ language=c++ extra=(-Wundef); fi
    "$compiler" -std="$std" "${strict[@]}" "${extra[@]}" -fsyntax-only -x "$language" - -I"$prefix/include" \
        <<<'#include <gyre.h>'
    "$compiler" -std="$std" "${strict[@]}" "${extra[@]}" -fsyntax-only -x "$language" - -I"$prefix/include" \
        <<<$'#include <gyre.h>\n#include <gyre.h>'
}

# runs PROGRAM shared|static: it runs, and it is linked as it should be.
runs() {
    local program=$1 kind=$2
    "$program"
    if readelf -d "$program" | grep -q 'NEEDED.*libgyre\.so\.0'; then
        [[ $kind == shared ]]
    else
        [[ $kind == static ]]
    fi
}

# An empty folder with nothing but the user's program in it.
new_folder() { folder=$(mktemp -d "$work/empty.XXXXXX") && cp "$here/programs/$1" "$folder" && cd "$folder"; }

by_plain_compiler() {
    local compiler=$1 source=$2 kind=$3
    shift 3
    new_folder "$source"
    if [[ $kind == shared ]]; then
        "$compiler" "$@" "$source" -o program -I"$prefix/include" -L"$lib" -lgyre -Wl,-rpath,"$lib"
    else
        "$compiler" "$@" "$source" -o program -I"$prefix/include" -L"$lib" -l:libgyre.a
    fi
    runs ./program "$kind"
}

# The program between the fences of README.md, word for word: three bytes come in, and then the end.
the_readmes_program() {
    local folder
    folder=$(mktemp -d "$work/empty.XXXXXX")
    cd "$folder"
    sed -n '/^```c$/,/^```$/p' "$source_dir/README.md" | sed '1d;$d' >first.c
    gcc "${c_flags[@]}" first.c -o first -I"$prefix/include" -L"$lib" -lgyre -Wl,-rpath,"$lib"
    [[ $(printf 'ab\n' | ./first) == "3 bytes" ]]
}

by_pkg_config() {
    local compiler=$1 source=$2 kind=$3
    shift 3
    new_folder "$source"
    export PKG_CONFIG_PATH=$lib/pkgconfig
    [[ $(pkg-config --modversion gyre) == "$version" ]]
    # Unquoted: the flags of pkg-config are words.
    # shellcheck disable=SC2046
    if [[ $kind == shared ]]; then
        "$compiler" "$@" "$source" -o program $(pkg-config --cflags --libs gyre) -Wl,-rpath,"$lib"
    else
        "$compiler" "$@" "$source" -o program -static $(pkg-config --static --cflags --libs gyre)
    fi
    runs ./program "$kind"
}

by_find_package() {
    local compiler=$1 source=$2 kind=$3 library=gyre::gyre
    shift 3
    [[ $kind == shared ]] || library=gyre::gyre-static
    new_folder "$source"
    cat >CMakeLists.txt <<END
cmake_minimum_required(VERSION 3.20)
project(program LANGUAGES $([[ $compiler == gcc ]] && echo C || echo CXX))
find_package(gyre ${version%.*} CONFIG REQUIRED)
add_executable(program $source)
target_compile_options(program PRIVATE $*)
target_link_libraries(program PRIVATE $library)
END
    cmake -S . -B build -DCMAKE_PREFIX_PATH="$prefix"
    cmake --build build
    runs build/program "$kind"
}

another_version_is_refused() {
    new_folder program.c
    cat >CMakeLists.txt <<'END'
cmake_minimum_required(VERSION 3.20)
project(program LANGUAGES C)
find_package(gyre 999.0 CONFIG REQUIRED)
END
    ! cmake -S . -B build -DCMAKE_PREFIX_PATH="$prefix"
}

beside_another_rust_library() {
    new_folder two_rust_libraries.c
    rustc --edition 2021 --crate-type staticlib -O -o libother.a "$here/programs/other.rs"
    # Whole archives in both orders, so that nothing depends on which members the linker happens to need.
    gcc "${c_flags[@]}" two_rust_libraries.c -o one -I"$prefix/include" \
        -Wl,--whole-archive "$static" libother.a -Wl,--no-whole-archive
    gcc "${c_flags[@]}" two_rust_libraries.c -o two -I"$prefix/include" \
        -Wl,--whole-archive libother.a "$static" -Wl,--no-whole-archive
    gcc "${c_flags[@]}" two_rust_libraries.c -o three -I"$prefix/include" "$static" libother.a
    runs ./one static
    runs ./two static
    runs ./three static
}

check_installed() {
    libdir=$(sed -n 's/^CMAKE_INSTALL_LIBDIR:[A-Z]*=//p' "$build_dir/CMakeCache.txt")
    prefix=$work/prefix lib=$work/prefix/$libdir
    shared=$lib/libgyre.so static=$lib/libgyre.a
    version=$(sed -n 's/^version = "\(.*\)"/\1/p' "$source_dir/Cargo.toml" | head -n 1)
    version_node=GYRE_${version%.*}

    check "cmake --install into an empty prefix, which can be moved" install_into_empty_prefix
    check "libgyre.so exports the functions of gyre.h alone, at version $version_node" shared_exports_the_header
    check "libgyre.a is one object with the functions of gyre.h as its only global symbols" static_exports_the_header
    check "every gyre_ function of the Rust sources is declared in gyre.h" every_rust_function_is_declared
    check "soname and links: libgyre.so -> libgyre.so.0 -> libgyre.so.$version" soname_is_right
    check "libgyre.so needs nothing but libc and libgcc_s" needs_only_the_c_library
    check "libgyre.so has relro, now, nodelete, no executable stack, no run path, no debug sections" is_hardened
    local std kind method
    for std in c99 c11 c++11 c++17; do
        check "gyre.h compiles alone and included twice as $std" header_compiles "$std"
    done
    for method in find_package pkg_config plain_compiler; do
        for kind in shared static; do
            check "a C99 program by ${method/_/ }, $kind" "by_$method" gcc program.c "$kind" "${c_flags[@]}"
            check "a C++11 program by ${method/_/ }, $kind" "by_$method" g++ program.cpp "$kind" "${cpp_flags[@]}"
        done
    done
    check "the first program of README.md" the_readmes_program
    check "find_package refuses a version that is not there" another_version_is_refused
    check "libgyre.a and another Rust library in one program" beside_another_rust_library
}

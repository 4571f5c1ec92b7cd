// header.cpp: gyre.h as a C++11 program sees it: it compiles, it links with C linkage, and handles are plain values.
/* ctest: once */
#include <gyre.h>
#include <gyre.h>

#include <cstring>
#include <type_traits>

template <typename Handle>
struct is_plain_handle {
    static const bool value = sizeof(Handle) == 8 && std::is_standard_layout<Handle>::value &&
                              std::is_trivial<Handle>::value && std::is_same<decltype(Handle::bits), uint64_t>::value;
};

static_assert(is_plain_handle<gyre_loop>::value, "gyre_loop");
static_assert(is_plain_handle<gyre_io>::value, "gyre_io");
static_assert(is_plain_handle<gyre_timer>::value, "gyre_timer");
static_assert(is_plain_handle<gyre_signal>::value, "gyre_signal");
static_assert(is_plain_handle<gyre_child>::value, "gyre_child");
static_assert(is_plain_handle<gyre_hook>::value, "gyre_hook");
static_assert(!std::is_same<gyre_io, gyre_timer>::value, "handles of different kinds are different types");
static_assert(!std::is_same<gyre_loop, gyre_io>::value, "handles of different kinds are different types");
static_assert(std::is_standard_layout<gyre_loop_options>::value, "gyre_loop_options");
static_assert(std::is_standard_layout<gyre_loop_statistics>::value, "gyre_loop_statistics");
static_assert(std::is_standard_layout<gyre_child_exit>::value, "gyre_child_exit");

static_assert(GYRE_OK == 0 && GYRE_EHANDLE == -4001 && GYRE_EFULL == -4007, "statuses are stable");
static_assert(GYRE_READ == 1 && GYRE_ERROR == 32 && GYRE_EDGE == 256 && GYRE_ONESHOT == 512, "flags are stable");
static_assert(GYRE_MS(3) == 3000000u && GYRE_SEC(1) == 1000000000u, "units");
static_assert(GYRE_FOREVER == UINT64_MAX, "never");

int main()
{
    gyre_loop_options options = gyre_loop_options();
    options.size = sizeof options;
    gyre_loop loop = gyre_loop();
    if (gyre_loop_open(&options, &loop) != GYRE_OK || loop.bits == 0)
        return 1;
    // A lambda without captures is a callback.
    int posted = 0;
    if (gyre_loop_post(loop, [](gyre_loop, void *user_data) { ++*static_cast<int *>(user_data); }, &posted) != GYRE_OK)
        return 1;
    if (gyre_loop_run(loop, GYRE_RUN_DEFAULT) != 0 || posted != 1 || gyre_loop_close(loop) != GYRE_OK)
        return 1;
    return std::strcmp(gyre_status_name(GYRE_EHANDLE), "GYRE_EHANDLE") == 0 ? 0 : 1;
}

// A user's first program in C++: an exception leaves the loop, which then goes on with the next callback.
#include <gyre.h>
#include <cstdio>
#include <stdexcept>

static void throws(gyre_loop, void *)
{
    throw std::runtime_error("thrown by a callback");
}

static void counts(gyre_loop, void *user_data)
{
    *static_cast<int *>(user_data) += 1;
}

int main()
{
    gyre_loop loop;
    int counted = 0;
    bool caught = false;

    if (gyre_loop_open(nullptr, &loop) != GYRE_OK)
        return 1;
    if (gyre_loop_post(loop, throws, nullptr) != GYRE_OK || gyre_loop_post(loop, counts, &counted) != GYRE_OK)
        return 1;
    try {
        gyre_loop_run(loop, GYRE_RUN_DEFAULT);
    } catch (const std::runtime_error &error) {
        caught = true;
        std::printf("gyre %s: %s\n", gyre_version_string(), error.what());
    }
    if (gyre_loop_run(loop, GYRE_RUN_DEFAULT) != 0 || gyre_loop_close(loop) != GYRE_OK)
        return 1;
    return caught && counted == 1 ? 0 : 1;
}

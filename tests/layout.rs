//! The structs and constants of gyre.h as a C compiler sees them are those of the library.

mod support;

use gyre::capi::*;
use std::collections::BTreeMap;
use std::mem::offset_of;
use std::process::Command;
use support::*;

/// Each struct with its size, alignment and fields as the library has them.
macro_rules! structs {
    ($($name:ident { $($field:ident),* $(,)? })*) => {
        [$((
            stringify!($name),
            size_of::<$name>(),
            align_of::<$name>(),
            vec![$((stringify!($field), offset_of!($name, $field))),*],
        )),*]
    };
}

/// Each enumerator of an enum with its value.
macro_rules! enumerators {
    ($($name:ident { $($value:ident),* $(,)? })*) => {
        [$($((stringify!($value), $name::$value as i64)),*),*]
    };
}

#[test]
fn structs_and_constants_are_the_same_in_c() {
    let structs = structs! {
        gyre_loop { bits }
        gyre_io { bits }
        gyre_timer { bits }
        gyre_signal { bits }
        gyre_child { bits }
        gyre_hook { bits }
        gyre_loop_options {
            size, backend, engine, events_per_turn, post_capacity, op_capacity, aio_notify, aio_signal, aio_threads,
            file_threads, buffer_size, buffer_count,
        }
        gyre_loop_statistics {
            size, turns, waits, events, timers, posts, completions, stale_events, op_in_flight, handles, callback_ns_max,
            accept_calls, accept_pauses,
        }
        gyre_listener { bits }
        gyre_stream { bits }
        gyre_listener_options { size, backlog, reuse_port, max_connections, accept_batch, stream }
        gyre_stream_options {
            size, write_limit, max_input, connect_ns, idle_ns, write_stall_ns, close_ns, keepalive, delay,
        }
        gyre_stream_callbacks { size, on_open, on_data, on_drain, on_eof, on_close }
        gyre_child_exit { size, pid, error, code, signal, core_dumped }
    };
    let constants = enumerators! {
        gyre_status {
            GYRE_OK, GYRE_EHANDLE, GYRE_ETHREAD, GYRE_EREENTRANT, GYRE_EFORKED, GYRE_ECLOSING, GYRE_EUNSUPPORTED,
            GYRE_EFULL,
        }
        gyre_backend { GYRE_BACKEND_AUTO, GYRE_BACKEND_EPOLL, GYRE_BACKEND_POLL, GYRE_BACKEND_SELECT }
        gyre_engine { GYRE_ENGINE_AUTO, GYRE_ENGINE_IO_URING, GYRE_ENGINE_POSIX_AIO, GYRE_ENGINE_EMULATED }
        gyre_aio_notify { GYRE_AIO_SIGNAL, GYRE_AIO_THREAD }
        gyre_run_mode { GYRE_RUN_DEFAULT, GYRE_RUN_ONCE, GYRE_RUN_NOWAIT }
        gyre_events {
            GYRE_READ, GYRE_WRITE, GYRE_PRIORITY, GYRE_PEER_CLOSED, GYRE_HANGUP, GYRE_ERROR, GYRE_EDGE, GYRE_ONESHOT,
        }
        gyre_hook_phase { GYRE_HOOK_PREPARE, GYRE_HOOK_CHECK, GYRE_HOOK_IDLE }
    };

    let mut expected = BTreeMap::new();
    for (name, size, align, fields) in structs {
        expected.insert(format!("sizeof {name}"), size as i64);
        expected.insert(format!("alignof {name}"), align as i64);
        expected.extend(fields.iter().map(|(field, offset)| (format!("{name}.{field}"), *offset as i64)));
    }
    expected.extend(constants.map(|(name, value)| (name.to_owned(), value)));
    expected.insert("GYRE_VERSION".to_owned(), i64::from(gyre_version()));
    expected.insert("GYRE_MS(3)".to_owned(), 3 * MS as i64);
    expected.insert("GYRE_SEC(3)".to_owned(), 3 * SEC as i64);
    expected.insert("GYRE_FOREVER".to_owned(), FOREVER as i64);

    let Some(found) = ask_the_c_compiler(expected.keys()) else { return };
    assert_eq!(found, expected);
}

/// What a C program says of each entry.
fn ask_the_c_compiler<'a>(entries: impl Iterator<Item = &'a String>) -> Option<BTreeMap<String, i64>> {
    if Command::new("cc").arg("--version").output().is_err() {
        say("layout: SKIPPED, there is no C compiler `cc`");
        return None;
    }
    let lines = entries.map(|entry| {
        let expression = match (entry.split_once(' '), entry.split_once('.')) {
            (Some(("alignof", name)), _) => format!("offsetof(struct {{ char c; {name} it; }}, it)"),
            (Some((_, name)), _) => format!("sizeof({name})"),
            (_, Some((name, field))) => format!("offsetof({name}, {field})"),
            _ => entry.clone(),
        };
        format!("    printf(\"{entry}=%lld\\n\", (long long)({expression}));\n")
    });
    let source = format!(
        "#include <gyre.h>\n#include <stdio.h>\nint main(void)\n{{\n{}    return 0;\n}}\n",
        lines.collect::<String>()
    );
    let directory = std::env::temp_dir().join(format!("gyre-layout-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let (file, program) = (directory.join("layout.c"), directory.join("layout"));
    std::fs::write(&file, source).unwrap();
    let include = concat!("-I", env!("CARGO_MANIFEST_DIR"), "/include");
    let compiled = Command::new("cc")
        .args(["-std=c99", "-Wall", "-Wextra", "-Werror", include, "-o"])
        .arg(&program)
        .arg(&file)
        .output()
        .unwrap();
    assert!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stderr));
    let output = Command::new(&program).output().unwrap();
    std::fs::remove_dir_all(&directory).unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let parse = |line: &str| line.split_once('=').map(|(entry, value)| (entry.to_owned(), value.parse().unwrap()));
    Some(text.lines().filter_map(parse).collect())
}

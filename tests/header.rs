//! include/gyre.h is what the sources say. `GYRE_BLESS=1 cargo test --test header` writes it anew.

#[test]
fn the_committed_header_is_the_one_that_the_sources_make() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let committed = root.join("include/gyre.h");
    let mut config = cbindgen::Config::from_file(root.join("cbindgen.toml")).unwrap();
    let part = |name: &str| std::env::var(format!("CARGO_PKG_VERSION_{name}")).unwrap().parse::<u32>().unwrap();
    let version = part("MAJOR") << 16 | part("MINOR") << 8 | part("PATCH");
    config.after_includes = config.after_includes.map(|text| text.replace("@VERSION@", &format!("{version:#08x}")));
    let mut made = Vec::new();
    cbindgen::Builder::new().with_crate(root).with_config(config).generate().unwrap().write(&mut made);
    let made = String::from_utf8(made).unwrap();
    if std::env::var_os("GYRE_BLESS").is_some() {
        std::fs::create_dir_all(root.join("include")).unwrap();
        std::fs::write(&committed, &made).unwrap();
    }
    let committed = std::fs::read_to_string(&committed).unwrap_or_default();
    let line = made.lines().zip(committed.lines()).position(|(made, committed)| made != committed);
    assert!(
        made == committed,
        "include/gyre.h is not what the sources make, from line {:?} on; run GYRE_BLESS=1 cargo test --test header",
        line.map(|line| line + 1)
    );
}

/// A host may include any other header beside it.
#[test]
fn every_name_that_the_header_declares_is_gyres() {
    let header = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/include/gyre.h")).unwrap();
    let is_ours = |name: &str| name.starts_with("gyre_") || name.starts_with("GYRE_");
    let mut count = 0;
    for line in header.lines() {
        let name = if let Some(name) = line.strip_prefix("} ") {
            name.strip_suffix(';')
        } else if line.starts_with(|first: char| first.is_ascii_alphabetic()) && line.contains('(') {
            let line =
                line.strip_prefix("typedef ").map_or(line, |line| line.split_once("(*").map_or(line, |both| both.1));
            line.split('(').next().and_then(|front| front.rsplit([' ', '*']).next())
        } else if let Some(name) = line.strip_prefix("#define ") {
            name.split([' ', '(']).next()
        } else {
            None
        };
        if let Some(name) = name {
            count += 1;
            assert!(is_ours(name), "{line}");
        }
    }
    assert!(count > 60, "only {count} names found: the test does not see them any more");
}

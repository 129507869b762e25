//! Fills `corpus/TARGET`: `cargo +nightly run --bin seeds` in `fuzz/`. Targets of the wire start from the golden
//! frames, the others from what their crate gives them.

use std::{
    error::Error,
    fs,
    path::{Path, PathBuf},
};

fn main() -> Result<(), Box<dyn Error>> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut written = wire(here)?;
    let named = |names: Vec<&'static str>, seeds: fn(&str) -> Vec<Vec<u8>>| {
        names.into_iter().map(|name| (name, seeds(name))).collect::<Vec<_>>()
    };
    let mut all =
        named(kerolox_store::fuzzing::TARGETS.iter().map(|t| t.0).collect(), kerolox_store::fuzzing::seeds);
    all.extend(named(
        kerolox_broker::fuzzing::TARGETS.iter().map(|t| t.0).collect(),
        kerolox_broker::fuzzing::seeds,
    ));
    all.extend(named(
        kerolox_config::fuzzing::TARGETS.iter().map(|t| t.0).collect(),
        kerolox_config::fuzzing::seeds,
    ));
    all.extend(named(
        kerolox_namesrv::fuzzing::TARGETS.iter().map(|t| t.0).collect(),
        kerolox_namesrv::fuzzing::seeds,
    ));
    for (target, seeds) in all {
        for (n, seed) in seeds.iter().enumerate() {
            fs::write(folder(here, target)?.join(format!("seed-{n}")), seed)?;
            written += 1;
        }
    }
    println!("{written} seeds");
    Ok(())
}

fn folder(here: &Path, target: &str) -> std::io::Result<PathBuf> {
    let folder = here.join("corpus").join(target);
    fs::create_dir_all(&folder)?;
    Ok(folder)
}

fn wire(here: &Path) -> Result<usize, Box<dyn Error>> {
    use kerolox_protocol::fuzzing;
    let mut written = 0;
    for client in fs::read_dir(here.join("../crates/protocol/testdata/golden"))? {
        let client = client?.path();
        if !client.is_dir() {
            continue;
        }
        for file in fs::read_dir(&client)? {
            let file = file?.path();
            let frame = fs::read(&file)?;
            for (target, _) in fuzzing::TARGETS {
                let folder = folder(here, target)?;
                for (n, seed) in fuzzing::seeds(target, &frame).into_iter().enumerate() {
                    let name =
                        |path: &Path| path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
                    fs::write(folder.join(format!("{}-{}-{n}", name(&client), name(&file))), seed)?;
                    written += 1;
                }
            }
        }
    }
    Ok(written)
}

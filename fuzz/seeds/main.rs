//! Fills `corpus/TARGET`: `cargo +nightly run --bin seeds` in `fuzz/`. Targets of the wire start from the golden
//! frames, the others from what their crate gives them.

use std::{
    error::Error,
    fs,
    path::{Path, PathBuf},
};

/// Targets of a crate, and what each of them begins with.
type Seeded = (&'static [(&'static str, fn(&[u8]))], fn(&str) -> Vec<Vec<u8>>);

const OTHERS: &[Seeded] = &[
    (kerolox_store::fuzzing::TARGETS, kerolox_store::fuzzing::seeds),
    (kerolox_broker::fuzzing::TARGETS, kerolox_broker::fuzzing::seeds),
    (kerolox_config::fuzzing::TARGETS, kerolox_config::fuzzing::seeds),
    (kerolox_namesrv::fuzzing::TARGETS, kerolox_namesrv::fuzzing::seeds),
];

fn main() -> Result<(), Box<dyn Error>> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut written = wire(here)?;
    for (targets, seeds) in OTHERS {
        for (target, _) in *targets {
            for (n, seed) in seeds(target).iter().enumerate() {
                fs::write(folder(here, target)?.join(format!("seed-{n}")), seed)?;
                written += 1;
            }
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
                    // Whole names: of `java-4.9.8` and `java-4.9.8-binary` the stem is the same.
                    let name =
                        |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                    fs::write(folder.join(format!("{}-{}-{n}", name(&client), name(&file))), seed)?;
                    written += 1;
                }
            }
        }
    }
    Ok(written)
}

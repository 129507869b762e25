//! Fills `corpus/TARGET` with inputs made of the golden frames: `cargo +nightly run --bin seeds` in `fuzz/`.

use kerolox_protocol::fuzzing;
use std::{error::Error, fs, path::Path};

fn main() -> Result<(), Box<dyn Error>> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
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
                let folder = here.join("corpus").join(target);
                fs::create_dir_all(&folder)?;
                for (n, seed) in fuzzing::seeds(target, &frame).into_iter().enumerate() {
                    let name =
                        |path: &Path| path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
                    fs::write(folder.join(format!("{}-{}-{n}", name(&client), name(&file))), seed)?;
                    written += 1;
                }
            }
        }
    }
    println!("{written} seeds");
    Ok(())
}

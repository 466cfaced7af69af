//! What a folder with the objects of a store holds, by its manifests.

use std::path::Path;

use tracewell_store::manifest::Manifest;

/// An error if it was replaced while it was read.
pub(crate) fn manifest(data: &Path) -> Result<Manifest, String> {
    let entries = std::fs::read_dir(data.join("manifest")).map_err(|error| error.to_string())?;
    let newest = entries.map(|entry| entry.unwrap().path()).max();
    let newest = newest.ok_or("no manifest yet")?;
    let number = newest.file_stem().unwrap().to_str().unwrap().parse();
    let bytes = std::fs::read(&newest).map_err(|error| error.to_string())?;
    Ok(Manifest::decode(number.unwrap(), &bytes).unwrap())
}

/// Numbers of blocks of levels 0, 1 and 2.
pub(crate) fn levels(manifest: &Manifest) -> [usize; 3] {
    let n = |level| {
        let blocks = manifest.blocks.iter();
        blocks.filter(|block| block.level == level).count()
    };
    [n(0), n(1), n(2)]
}

/// Those in a folder that can be read, the newest last.
pub(crate) fn manifests(folder: &Path) -> Vec<Manifest> {
    let mut names = names_in(folder);
    names.sort_unstable();
    let manifests = names.iter().filter_map(|name| {
        let number = name.strip_suffix(".manifest")?.parse().ok()?;
        let bytes = std::fs::read(folder.join(name)).ok()?;
        Some(Manifest::decode(number, &bytes).unwrap())
    });
    manifests.collect()
}

/// Empty if the folder is not there.
pub(crate) fn names_in(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    names.collect()
}

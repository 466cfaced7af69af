//! Which block a path on the command line means.

use std::fs;
use std::path::{Path, PathBuf};

use tracewell_store::block::schema::{CHECKSUMS_FILE, META_FILE, SHARED_FILE, Table};
use tracewell_store::manifest::BlockId;

/// A block's folder: its name is the block's id.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) parent: PathBuf,
    pub(super) id: BlockId,
}

// === impl Place ===

impl Place {
    /// From the folder or one of its files; an error says what the path is instead.
    pub(super) fn of(path: &Path) -> Result<Self, String> {
        let shown = path.display();
        let found = fs::canonicalize(path).map_err(|error| {
            format!("{shown}: {error}; name a block's folder or a file in it, such as {META_FILE}")
        })?;
        if !found.is_dir() && !is_file_of_a_block(&found) {
            return Err(format!(
                "{shown} is no file of a block; those are {META_FILE}, {CHECKSUMS_FILE}, \
                 {SHARED_FILE} and {}",
                Table::ALL.map(Table::file).join(", ")
            ));
        }
        let folder = if found.is_dir() {
            found.as_path()
        } else {
            found.parent().unwrap_or(&found)
        };
        let name = folder.file_name().and_then(|name| name.to_str());
        match (name.and_then(BlockId::parse), folder.parent()) {
            (Some(id), Some(parent)) => Ok(Self {
                parent: parent.to_path_buf(),
                id,
            }),
            _ => Err(no_block(folder)),
        }
    }

    pub(super) fn folder(&self) -> PathBuf {
        self.parent.join(self.id.to_string())
    }
}

fn is_file_of_a_block(path: &Path) -> bool {
    let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
        return false;
    };
    [META_FILE, CHECKSUMS_FILE, SHARED_FILE].contains(&name)
        || Table::ALL.iter().any(|table| table.file() == name)
}

/// Why a folder is no block's, and what was probably meant.
fn no_block(folder: &Path) -> String {
    let shown = folder.display();
    if folder.join(META_FILE).is_file() {
        return format!(
            "{shown}: a block's folder is named by its id, 32 lowercase hex digits; rename the \
             folder to the id in its {META_FILE}"
        );
    }
    let entries = fs::read_dir(folder).into_iter().flatten();
    let mut blocks: Vec<String> = entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| BlockId::parse(name).is_some())
        .collect();
    blocks.sort();
    match blocks.as_slice() {
        [] => format!(
            "{shown} is no block: it has no {META_FILE}; a block is a folder named by 32 lowercase \
             hex digits"
        ),
        [block] => format!("{shown} holds one block; name it: {shown}/{block}"),
        [first, ..] => format!(
            "{shown} holds {} blocks; name one of them, such as {shown}/{first}",
            blocks.len()
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn golden() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../store/tests/golden/block_v1")
    }

    #[test]
    fn a_block_is_named_by_its_folder_or_any_of_its_files() {
        let folder = golden().join("a0".repeat(16));
        let place = Place::of(&folder).unwrap();
        assert_eq!(place.id, BlockId([0xa0; 16]));
        assert_eq!(place.folder(), fs::canonicalize(&folder).unwrap());
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            assert_eq!(Place::of(&path).as_ref(), Ok(&place), "{}", path.display());
        }
    }

    #[test]
    fn other_paths_are_told_what_they_are() {
        let source = Path::new(env!("CARGO_MANIFEST_DIR"));
        for (path, words) in [
            (golden(), "holds 2 blocks; name one of them, such as"),
            (source.to_path_buf(), "is no block: it has no meta.json"),
            (source.join("Cargo.toml"), "is no file of a block"),
            (source.join("nowhere"), "No such file"),
        ] {
            let reason = Place::of(&path).unwrap_err();
            assert!(reason.contains(words), "{reason}");
        }
    }
}

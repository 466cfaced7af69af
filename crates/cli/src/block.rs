//! `tracewell block`: what a block on this machine's disk consists of, and whether it is whole.
//!
//! It reads files and asks no server, so that it works on a copy, beside a running server, and where
//! none starts any more. It writes nothing and mends nothing. The format is docs/format/block.md.

mod place;
mod report;

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Result;
use object_store::ObjectStore;
use object_store::path::Path as ObjectPath;
use tracewell_store::block::{BlockError, BlockReader, BlockResult, BlockVerification};
use tracewell_store::disk::LocalDisk;
use tracewell_store::objects::DiskObjects;

use crate::arguments::{BlockCommand, BlockPath};
use crate::{EXIT_USAGE, output, runtime};
use place::Place;

pub(crate) fn run(command: &BlockCommand) -> Result<ExitCode> {
    let (BlockCommand::Inspect(arguments) | BlockCommand::Verify(arguments)) = command;
    let place = match Place::of(&arguments.path) {
        Ok(place) => place,
        Err(reason) => {
            eprintln!("tracewell: {reason}");
            return Ok(match arguments.path.exists() {
                true => ExitCode::from(EXIT_USAGE),
                false => ExitCode::FAILURE,
            });
        }
    };
    let runtime = runtime::small()?;
    match command {
        BlockCommand::Inspect(_) => runtime.block_on(inspect(&place, arguments)),
        BlockCommand::Verify(_) => runtime.block_on(verify(&place, arguments)),
    }
}

async fn open(place: &Place) -> BlockResult<BlockReader> {
    let objects = DiskObjects::for_reading(Arc::new(LocalDisk), &place.parent);
    let objects: Arc<dyn ObjectStore> = Arc::new(objects);
    BlockReader::open(objects, &ObjectPath::default(), place.id, Arc::default()).await
}

async fn inspect(place: &Place, arguments: &BlockPath) -> Result<ExitCode> {
    let inspection = match open(place).await {
        Ok(block) => block.inspect().await,
        Err(error) => Err(error),
    };
    match inspection {
        Ok(inspection) if arguments.json => output::print_json(&inspection)?,
        Ok(inspection) => output::print(&report::inspection(&inspection))?,
        Err(error) => {
            let folder = place.folder();
            eprintln!("tracewell: {}: {error}", folder.display());
            eprintln!("{}", advice(&error, place));
            return Ok(ExitCode::FAILURE);
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn verify(place: &Place, arguments: &BlockPath) -> Result<ExitCode> {
    let verification = match open(place).await {
        Ok(block) => block.verify().await,
        // What cannot be opened for its content is damaged; what cannot be read at all is unknown.
        Err(error) if is_at_fault(&error) => BlockVerification {
            damage: vec![error.to_string()],
            ..BlockVerification::default()
        },
        Err(error) => {
            let folder = place.folder();
            eprintln!("tracewell: {}: {error}", folder.display());
            eprintln!("{}", advice(&error, place));
            return Ok(ExitCode::FAILURE);
        }
    };
    if arguments.json {
        output::print_json(&verification)?;
    } else {
        output::print(&report::verification(&verification, place))?;
    }
    if verification.damage.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    eprintln!("{}", report::MENDING);
    Ok(ExitCode::FAILURE)
}

/// Whether the block is at fault, a missing file included, and not what reads it.
fn is_at_fault(error: &BlockError) -> bool {
    let is_missing = matches!(
        error,
        BlockError::Object {
            source: object_store::Error::NotFound { .. },
            ..
        }
    );
    is_missing || error.is_damage()
}

/// What to do about a block that does not open.
fn advice(error: &BlockError, place: &Place) -> String {
    match error {
        BlockError::Version { .. } => {
            "a newer Tracewell wrote this block; use that version or a later one".to_owned()
        }
        error if is_at_fault(error) => format!(
            "list all damage with: tracewell block verify {}",
            place.folder().display()
        ),
        _ => "check that this user may read the files and that the disk is well".to_owned(),
    }
}

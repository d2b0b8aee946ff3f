//! Where the files of a recording come from: a disk, or whatever else has names and bytes.
//!
//! Readers ask [`Files`] and never the file system, so that hostile files can be tried by the
//! thousand a second, from memory.

use std::fs::File;
use std::io::{Read, Seek};
use std::path::Path;

use super::error::{Error, Fault};

/// Files by path.
pub trait Files {
    /// The file at `path`, and its length in bytes.
    ///
    /// # Errors
    /// Where there is no such file, or it cannot be read.
    fn open(&self, path: &Path) -> Result<(Box<dyn Source + '_>, u64), Error>;

    /// Whether something is at `path`.
    fn exists(&self, path: &Path) -> bool;
}

/// An open file.
pub trait Source: Read + Seek {}

impl<T: Read + Seek> Source for T {}

/// The file system.
#[derive(Debug, Clone, Copy)]
pub struct Disk;

impl Files for Disk {
    /// What is no regular file has no length to trust, and is refused.
    fn open(&self, path: &Path) -> Result<(Box<dyn Source + '_>, u64), Error> {
        let unreadable = |source| Error::Read {
            path: path.to_owned(),
            source,
        };
        // Asked before opening: opening a pipe waits for a writer.
        let metadata = std::fs::metadata(path).map_err(unreadable)?;
        if !metadata.is_file() {
            return Err(Fault::malformed("not a regular file").at(path));
        }
        let file = File::open(path).map_err(unreadable)?;
        Ok((Box::new(file), metadata.len()))
    }

    fn exists(&self, path: &Path) -> bool {
        path.exists()
    }
}

/// A whole small file, for those that are parsed at once.
pub(super) fn read_up_to(files: &dyn Files, path: &Path, limit: u64) -> Result<Vec<u8>, Error> {
    let (mut file, length) = files.open(path)?;
    if length > limit {
        return Err(Error::TooLarge {
            path: path.to_owned(),
            what: "bytes",
            value: length,
            limit,
        });
    }
    read_bytes(&mut *file, path, length)
}

/// The next `count` bytes, of which the caller knows that the file holds them, or fewer if the
/// file shrinks meanwhile.
pub(super) fn read_bytes(file: &mut dyn Source, path: &Path, count: u64) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    file.take(count)
        .read_to_end(&mut bytes)
        .map_err(|source| Error::Read {
            path: path.to_owned(),
            source,
        })?;
    Ok(bytes)
}

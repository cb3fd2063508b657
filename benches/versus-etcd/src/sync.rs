//! What the disk alone costs: the measure for everything that must be durable.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::load::Sheet;

/// 4 KiB written over and over in a file of 1 MiB, each time synced, for one second.
pub fn measure(path: &Path) -> io::Result<Sheet> {
    let file = File::create(path)?;
    let block = [7_u8; 4096];
    for at in 0..256 {
        file.write_all_at(&block, at * 4096)?;
    }
    file.sync_all()?;
    let mut sheet = Sheet::new();
    let started = Instant::now();
    while started.elapsed() < Duration::from_secs(1) {
        let begun = Instant::now();
        file.write_all_at(&block, (sheet.latency_us.len() % 256) * 4096)?;
        file.sync_data()?;
        sheet.record(begun.elapsed());
    }
    sheet.time = started.elapsed();
    std::fs::remove_file(path)?;
    Ok(sheet)
}

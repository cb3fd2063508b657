//! What /proc says of a process: the proof that a signal did what it was sent for.

use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Between two looks.
const LOOK: Duration = Duration::from_millis(1);

/// Threads of a process by state: how many are stopped, of how many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Threads {
    pub(super) stopped: usize,
    pub(super) all: usize,
}

/// Whether the process is not there any more, not even as a zombie.
pub(super) fn is_gone(pid: i32) -> bool {
    !PathBuf::from(format!("/proc/{pid}")).exists()
}

/// Counts its threads; `None` when it is gone.
pub(super) fn threads(pid: i32) -> Option<Threads> {
    let mut count = Threads { stopped: 0, all: 0 };
    for task in std::fs::read_dir(format!("/proc/{pid}/task")).ok()?.flatten() {
        // A thread may end between the two reads.
        let Ok(stat) = std::fs::read_to_string(task.path().join("stat")) else { continue };
        count.all += 1;
        count.stopped += usize::from(state_of(&stat) == Some('T'));
    }
    (count.all > 0).then_some(count)
}

/// The state letter behind the name, which stands in brackets and may itself hold brackets and spaces.
fn state_of(stat: &str) -> Option<char> {
    stat.rsplit_once(')')?.1.trim_start().chars().next()
}

/// Looks until it is so, or the time is over; returns what was seen last, and whether it was so.
pub(super) fn until<T>(timeout: Duration, mut look: impl FnMut() -> T, so: impl Fn(&T) -> bool) -> (T, bool) {
    let start = Instant::now();
    loop {
        let seen = look();
        let is_so = so(&seen);
        if is_so || start.elapsed() >= timeout {
            return (seen, is_so);
        }
        std::thread::sleep(LOOK);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_state_stands_behind_the_last_bracket() {
        assert_eq!(state_of("12 (node) T 1 2"), Some('T'));
        assert_eq!(state_of("12 (a ) T (b) S 1"), Some('S'));
        assert_eq!(state_of("12"), None);
    }

    #[test]
    fn we_run_and_a_pid_beyond_all_is_gone() {
        let own = i32::try_from(std::process::id()).unwrap();
        let threads = threads(own).unwrap();
        assert!(threads.all >= 1);
        assert_eq!(threads.stopped, 0);
        assert!(!is_gone(own));
        assert!(is_gone(i32::MAX));
        assert!(super::threads(i32::MAX).is_none());
    }
}

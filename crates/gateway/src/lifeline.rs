//! A gateway that another program started for itself ends with that program, also where it is killed.

use std::io;

use rustix::process::{Signal, getppid, set_parent_process_death_signal};

/// Has the system send SIGTERM to this process once the thread of `parent` that started it is gone.
///
/// Returns whether `parent` is still there: where it ended before the system was told, no signal comes.
///
/// # Errors
///
/// As the system says.
pub fn end_with(parent: u32) -> io::Result<bool> {
    set_parent_process_death_signal(Some(Signal::TERM))?;
    Ok(getppid().is_some_and(|above| u32::try_from(above.as_raw_nonzero().get()) == Ok(parent)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_not_the_parent_is_told() {
        let parent = u32::try_from(getppid().unwrap().as_raw_nonzero().get()).unwrap();
        assert!(end_with(parent).unwrap());
        assert!(!end_with(std::process::id()).unwrap());
        set_parent_process_death_signal(None).unwrap();
    }
}

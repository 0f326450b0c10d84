//! Who stays beside a policy program, so that nothing of it outlives whoever asks it.
//!
//! The kernel can be told to kill a process when its parent dies, but not what that process has started: a shell forks, and
//! what it forked may never read the stdin whose end would tell it. So the guard watches both the asker and the program. It
//! ends as the program does; when the asker dies, however it dies, it kills their group, itself included. The asker has made
//! that group (`router::Program`), and kills it likewise when it is done with the program.

use std::{
    fs::File,
    io,
    os::{
        fd::OwnedFd,
        unix::process::{CommandExt as _, ExitStatusExt as _},
    },
    process::{Command, ExitStatus, exit},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
    process::{Pid, Signal, getpgrp, getpid, getppid, kill_process, kill_process_group},
    stdio::{dup2_stdin, dup2_stdout, stdin},
};

use crate::node::tie_to_parent;

/// Runs `program`, and ends as it does; returns where it cannot be run.
pub(super) fn run(mut program: Command) -> io::Error {
    let Some(asker) = getppid().and_then(watch) else {
        // The program itself, without what it starts, is better than nothing.
        tie_to_parent();
        return program.exec();
    };
    match beside(program, &asker) {
        Ok(status) => end_as(status),
        Err(error) => error,
    }
}

/// Runs `program` until it ends, or `asker` does.
fn beside(mut program: Command, asker: &OwnedFd) -> io::Result<ExitStatus> {
    // An asker that died before it was watched has left us to another parent, and its end of our stdin is closed.
    let mut asked = [PollFd::from_borrowed_fd(stdin(), PollFlags::empty())];
    poll(&mut asked, Some(&Timespec::default()))?;
    if asked.iter().any(|end| end.revents().contains(PollFlags::HUP)) {
        return Err(io::Error::new(io::ErrorKind::BrokenPipe, "whoever asked for it is gone"));
    }
    let mut child = program.spawn()?;
    // The pipes are the program's alone: an asker sees by them that it is gone.
    let nothing = File::options().read(true).write(true).open("/dev/null")?;
    dup2_stdin(&nothing)?;
    dup2_stdout(&nothing)?;
    let ended = i32::try_from(child.id()).ok().and_then(Pid::from_raw).and_then(watch);
    let ended = ended.ok_or_else(|| io::Error::other("it cannot be watched"))?;
    let mut watched = [PollFd::new(asker, PollFlags::IN), PollFd::new(&ended, PollFlags::IN)];
    while let Err(error) = poll(&mut watched, None) {
        if error != Errno::INTR {
            return Err(error.into());
        }
    }
    let [asker, _] = watched;
    if !asker.revents().is_empty() {
        kill_process_group(getpgrp(), Signal::KILL)?;
    }
    child.wait()
}

/// What can be waited on for the end of a process, where the system has that.
#[cfg(target_os = "linux")]
fn watch(process: Pid) -> Option<OwnedFd> {
    rustix::process::pidfd_open(process, rustix::process::PidfdFlags::empty()).ok()
}

#[cfg(not(target_os = "linux"))]
const fn watch(_: Pid) -> Option<OwnedFd> {
    None
}

/// Ends this process as another has: by its signal, or with its code.
fn end_as(status: ExitStatus) -> ! {
    if let Some(signal) = status.signal().and_then(Signal::from_named_raw) {
        let _ = kill_process(getpid(), signal);
    }
    // Of a signal that does not end us, what a shell says of it.
    exit(status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(1))
}

//! What is there before, during and after an output is written.
#![cfg(unix)]
#![allow(clippy::unwrap_used)]

use std::fs::{self, File};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::{FileTypeExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use mnx_files::{ScratchFolder, WholeFile, WholeFolder, write};

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// A number under which no process runs any more.
fn dead() -> u32 {
    let mut child = Command::new("true").spawn().unwrap();
    let pid = child.id();
    child.wait().unwrap();
    pid
}

#[test]
fn a_file_appears_whole_or_not_at_all() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.bin");
    for (round, content) in [b"first".as_slice(), b"second, longer", b"3"].into_iter().enumerate() {
        let before = fs::read(&path).ok();
        let mut file = WholeFile::create(&path).unwrap();
        file.write_all(b"....").unwrap();
        file.rewind().unwrap();
        file.write_all(content).unwrap();
        file.file().set_len(content.len() as u64).unwrap();
        assert_eq!(fs::read(&path).ok(), before, "round {round}");
        drop(WholeFile::create(&path).unwrap());
        file.commit().unwrap();
        assert_eq!(fs::read(&path).unwrap(), content);
        assert_eq!(names(dir.path()), ["a.bin"]);
    }
    // As any file that a program makes.
    let plain = dir.path().join("plain");
    File::create(&plain).unwrap();
    let mode = |p: &Path| fs::metadata(p).unwrap().permissions().mode();
    assert_eq!(mode(&path), mode(&plain));
    // A folder in the way is not replaced, and nothing is left.
    fs::create_dir(dir.path().join("d")).unwrap();
    let refused = write(&dir.path().join("d"), b"x").unwrap_err().to_string();
    assert!(refused.contains("irectory") && !refused.contains(".mnx"), "{refused}");
    assert!(write(&dir.path().join("none/a"), b"x").is_err());
    assert_eq!(names(dir.path()), ["a.bin", "d", "plain"]);
}

#[test]
fn a_link_stays_a_link() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    fs::create_dir_all(at("data/deep")).unwrap();
    fs::write(at("data/real"), "old").unwrap();
    symlink("data/real", at("one")).unwrap();
    symlink(at("one"), at("two")).unwrap();
    symlink("../../data/new", at("data/deep/up")).unwrap();
    symlink("data/deep/up", at("dangling")).unwrap();
    write(&at("two"), b"through two").unwrap();
    write(&at("dangling"), b"made").unwrap();
    for link in ["one", "two", "data/deep/up", "dangling"] {
        assert!(at(link).is_symlink(), "{link}");
    }
    assert_eq!(fs::read(at("data/real")).unwrap(), b"through two");
    assert_eq!(fs::read(at("data/new")).unwrap(), b"made");
    // Not into a file of another kind.
    fs::write(at("data/accounts"), "precious").unwrap();
    for link in ["seg.nii.gz", "weights.safetensors"] {
        symlink("data/accounts", at(link)).unwrap();
        let e = write(&at(link), b"x").unwrap_err().to_string();
        assert!(e.contains("is a link to") && e.contains("accounts, a file of another kind"), "{e}");
        assert_eq!(fs::read(at("data/accounts")).unwrap(), b"precious");
        fs::remove_file(at(link)).unwrap();
    }
    fs::remove_file(at("data/accounts")).unwrap();
    fs::write(at("data/seg_v1.nii.gz"), "old").unwrap();
    symlink("data/seg_v1.nii.gz", at("seg.nii.gz")).unwrap();
    write(&at("seg.nii.gz"), b"new").unwrap();
    assert!(at("seg.nii.gz").is_symlink() && fs::read(at("data/seg_v1.nii.gz")).unwrap() == b"new");
    fs::remove_file(at("seg.nii.gz")).unwrap();
    fs::remove_file(at("data/seg_v1.nii.gz")).unwrap();
    symlink("round", at("trip")).unwrap();
    symlink("trip", at("round")).unwrap();
    let e = write(&at("round"), b"x").unwrap_err().to_string();
    assert!(e.contains("symbolic links"), "{e}");
    assert_eq!(names(dir.path()), ["dangling", "data", "one", "round", "trip", "two"]);
    assert_eq!(names(&at("data")), ["deep", "new", "real"]);

    // A folder through a link, too.
    symlink("data/folder", at("f")).unwrap();
    let folder = WholeFolder::create(&at("f")).unwrap();
    write(&folder.path().join("x"), b"1").unwrap();
    assert!(!at("data/folder").exists());
    folder.commit().unwrap();
    assert!(at("f").is_symlink() && at("data/folder/x").is_file());
    assert_eq!(names(&at("data")), ["deep", "folder", "new", "real"]);
}

#[test]
fn devices_and_pipes_are_written_through() {
    write(Path::new("/dev/null"), b"gone").unwrap();
    assert!(fs::metadata("/dev/null").unwrap().file_type().is_char_device());
    assert_eq!(write(Path::new("/dev/full"), b"x").unwrap_err().kind(), std::io::ErrorKind::StorageFull);
    let dir = tempfile::tempdir().unwrap();
    let fifo = dir.path().join("fifo");
    assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    let reader = std::thread::spawn({
        let fifo = fifo.clone();
        move || fs::read(fifo).unwrap()
    });
    let mut file = WholeFile::create(&fifo).unwrap();
    file.write_all(b"__cd").unwrap();
    file.rewind().unwrap();
    file.write_all(b"ab").unwrap();
    file.commit().unwrap();
    assert_eq!(reader.join().unwrap(), b"abcd");
    assert!(fs::metadata(&fifo).unwrap().file_type().is_fifo());
    // An open file under /proc keeps its identity.
    let mut open = File::options().read(true).write(true).create_new(true).open(dir.path().join("open")).unwrap();
    let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&open));
    write(Path::new(&path), b"in place").unwrap();
    let mut text = String::new();
    open.read_to_string(&mut text).unwrap();
    assert_eq!(text, "in place");
}

#[test]
fn a_folder_appears_with_its_files_and_goes_without_them() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("out");
    let folder = WholeFolder::create(&path).unwrap();
    write(&folder.path().join("a"), b"1").unwrap();
    let hidden = names(dir.path());
    assert!(hidden.len() == 1 && hidden[0].starts_with(&format!(".mnx-{}-", std::process::id())), "{hidden:?}");
    drop(folder);
    assert!(names(dir.path()).is_empty());
    let folder = WholeFolder::create(&path).unwrap();
    write(&folder.path().join("a"), b"1").unwrap();
    folder.commit().unwrap();
    assert_eq!((names(dir.path()), names(&path)), (vec!["out".to_owned()], vec!["a".to_owned()]));
    // What is there and not empty stays.
    let second = WholeFolder::create(&path).unwrap();
    assert!(second.commit().is_err());
    assert_eq!((names(dir.path()), names(&path)), (vec!["out".to_owned()], vec!["a".to_owned()]));

    let scratch = ScratchFolder::create().unwrap();
    let place = scratch.path().to_owned();
    assert_eq!(fs::metadata(&place).unwrap().permissions().mode() & 0o777, 0o700);
    write(&place.join("a"), b"1").unwrap();
    drop(scratch);
    assert!(!place.exists());
}

#[test]
fn what_the_dead_have_left_goes_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: String| dir.path().join(name);
    let dead = dead();
    let mut living = Command::new("sleep").arg("60").spawn().unwrap();
    let (pid, own) = (living.id(), std::process::id());

    fs::write(at(format!(".mnx-{dead}-000001")), "half").unwrap();
    fs::create_dir_all(at(format!(".mnx-{dead}-000002/deep"))).unwrap();
    fs::write(at(format!(".mnx-{dead}-000002/deep/x")), "half").unwrap();
    // In a container the next process has the same number.
    fs::write(at(format!(".mnx-{own}-000003")), "half").unwrap();
    // The number of a dead process that another has by now: nobody has touched the file for long.
    let old = at(format!(".mnx-{pid}-000004"));
    fs::write(&old, "half").unwrap();
    File::options()
        .write(true)
        .open(&old)
        .unwrap()
        .set_modified(std::time::SystemTime::now() - std::time::Duration::from_secs(3600))
        .unwrap();

    let mut kept = vec![
        format!(".mnx-{pid}-100001"),
        format!(".mnx-{dead}-100002"),
        format!(".mnx-{dead}-10000"),
        format!(".mnx-{dead}-100004.nii"),
        ".mnx-100005".to_owned(),
        format!("mnx-{dead}-100006"),
        format!(".mnx-{dead}-1000X7"),
    ];
    kept.iter().for_each(|name| fs::write(at(name.clone()), "theirs").unwrap());
    // A process in another container holds its lock.
    let held = File::options().write(true).open(at(format!(".mnx-{dead}-100002"))).unwrap();
    held.lock().unwrap();
    let (link, outside) = (format!(".mnx-{dead}-100008"), tempfile::tempdir().unwrap());
    fs::write(outside.path().join("precious"), "x").unwrap();
    symlink(outside.path(), at(link.clone())).unwrap();
    let fifo = format!(".mnx-{dead}-100009");
    assert!(Command::new("mkfifo").arg(at(fifo.clone())).status().unwrap().success());

    write(&at("result".to_owned()), b"done").unwrap();
    kept.extend([link, fifo, "result".to_owned()]);
    kept.sort();
    let there = names(dir.path());
    living.kill().unwrap();
    living.wait().unwrap();
    assert_eq!(there, kept);
    assert!(outside.path().join("precious").is_file());
}

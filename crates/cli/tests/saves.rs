//! How programs save files, on real PM2: an edit is applied once, as soon as its file is written, and the newest one wins.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use camino::{Utf8Path, Utf8PathBuf};
use common::{Env, Watch, proxy, sleeper};
use pm2_testbed::wait_for;

/// The steps that were taken for an app.
fn steps(watch: &Watch, app: &str) -> Vec<String> {
    let mut lines = watch.lines();
    lines.retain(|line| {
        line.contains(&format!(" {app} in ")) || line.contains(&format!(" {app}: "))
    });
    lines
}

fn definition(env: &Env, n: u32) -> Utf8PathBuf {
    env.root
        .join(format!("system/daemons/d{n}/ecosystem.pm2.edn"))
}

/// Makes an edit and waits until it is fully applied, so that all earlier ones are, too.
fn fence(env: &Env, seconds: u32) {
    env.define("fence", &sleeper("fence", seconds));
    env.wait_for_args("fence", &[&seconds.to_string()]);
}

fn has(program: &str) -> bool {
    let mut command = Command::new(program);
    let command = command.arg("--version").stdout(Stdio::null());
    command.stderr(Stdio::null()).status().is_ok()
}

fn run(program: &str, args: &[&str]) {
    let mut command = Command::new(program);
    let command = command.args(args).stdin(Stdio::null());
    let done = command.output().unwrap();
    assert!(done.status.success(), "{program} {args:?}: {done:?}");
}

/// Overwrites the existing file in one write, as VS Code does.
fn truncate_and_write(file: &Utf8Path, text: &str) {
    let mut open = std::fs::File::create(file).unwrap();
    for part in text.as_bytes().chunks(20) {
        open.write_all(part).unwrap();
    }
}

#[test]
fn a_save_of_each_program_is_one_restart() {
    let env = Env::with_sleepers(7);
    let watch = env.watch(&[]);
    let others = env.pid("app6");
    let change = "s/1000/2000/";
    type Save<'a> = Box<dyn Fn(&Utf8Path) + 'a>;
    let saves: [(&str, Save<'_>); 6] = [
        (
            // By default, vim keeps no backups of files in the temporary directory.
            "vim",
            Box::new(|file| {
                let change = format!("%{change}");
                let args = ["-N", "-u", "NONE", "-i", "NONE", "-es"];
                let commands = ["-c", "set backupskip=", "-c", &change, "-c", "wq"];
                run("vim", &[&args[..], &commands, &[file.as_str()]].concat());
            }),
        ),
        (
            "sed",
            Box::new(|file| run("sed", &["-i", change, file.as_str()])),
        ),
        (
            "perl",
            Box::new(|file| run("perl", &["-pi", "-e", change, file.as_str()])),
        ),
        (
            "rsync",
            Box::new(|file| {
                let new = file.with_file_name(".ecosystem.pm2.edn.Xk3aQ1");
                truncate_and_write(&new, &sleeper("app3", 2000));
                std::fs::rename(new, file).unwrap();
            }),
        ),
        (
            "VS Code",
            Box::new(|file| truncate_and_write(file, &sleeper("app4", 2000))),
        ),
        (
            "a file moved in from elsewhere",
            Box::new(|file| {
                let new = env.root.join("new");
                std::fs::write(&new, sleeper("app5", 2000)).unwrap();
                std::fs::rename(new, file).unwrap();
            }),
        ),
    ];
    for (n, (program, save)) in (0_u32..).zip(saves) {
        if ["vim", "sed", "perl"].contains(&program) && !has(program) {
            continue;
        }
        save(&definition(&env, n));
        let app = format!("app{n}");
        env.wait_for_args(&app, &["2000"]);
        fence(&env, 3000 + n);
        wait_for(|| steps(&watch, &app).len() >= 2);
        // It was started, and restarted once.
        let steps = steps(&watch, &app);
        assert_eq!(steps.len(), 2, "{program}: {steps:#?}");
    }
    assert_eq!(env.pid("app6"), others);
    let lines = watch.lines();
    let broken = lines.iter().find(|line| line.contains("error:"));
    assert_eq!(broken, None, "{lines:#?}");
    assert_eq!(watch.stop(), 0);
    env.sync();
}

/// An editor that saves twice, a formatter that saves again, a tool that writes several times.
#[test]
fn saves_that_follow_each_other_within_moments_are_two_restarts_at_most() {
    let gaps = [0, 5, 20, 60, 120, 250];
    let env = Env::with_sleepers(u32::try_from(gaps.len()).unwrap());
    let watch = env.watch(&[]);
    for (n, gap) in (0_u32..).zip(gaps) {
        let began = Instant::now();
        let app = format!("app{n}");
        // The second edit is superseded, whether its restart is in progress or not.
        let seconds = ["2000", "2001", "2002"];
        for seconds in seconds {
            if seconds != "2000" {
                std::thread::sleep(Duration::from_millis(gap / 2));
            }
            truncate_and_write(
                &definition(&env, n),
                &sleeper(&app, seconds.parse().unwrap()),
            );
        }
        let took = began.elapsed();
        env.wait_for_args(&app, &["2002"]);
        fence(&env, 3000 + n);
        // On a busy machine, they were not close enough together.
        if took < Duration::from_millis(300) {
            let steps = steps(&watch, &app);
            assert!((2..=3).contains(&steps.len()), "{gap} ms: {steps:#?}");
        }
    }
    assert_eq!(watch.stop(), 0);
    env.sync();
}

#[test]
fn formatting_on_save_is_no_second_restart() {
    let env = Env::with_sleepers(3);
    let watch = env.watch(&[]);
    for (n, gap) in (0_u32..).zip([0, 30, 150]) {
        let app = format!("app{n}");
        let text = sleeper(&app, 2000);
        let file = definition(&env, n);
        truncate_and_write(&file, &text);
        std::thread::sleep(Duration::from_millis(gap));
        truncate_and_write(&file, &text.replace(' ', "\n  "));
        env.wait_for_args(&app, &["2000"]);
        fence(&env, 3000 + n);
        let steps = steps(&watch, &app);
        assert_eq!(steps.len(), 2, "{gap} ms: {steps:#?}");
    }
    assert_eq!(watch.stop(), 0);
    env.sync();
}

#[test]
fn an_edit_asks_pm2_for_its_list_before_and_after_and_no_more() {
    let env = Env::with_sleepers(3);
    env.sync();
    let lists = proxy::count_lists(&env);
    let mut most = 0;
    for seconds in 2000..2020 {
        env.define("d1", &sleeper("app1", seconds));
        let before = lists.load(Ordering::SeqCst);
        env.expect(3, &["sync", "--no-wait"]);
        let count = lists.load(Ordering::SeqCst) - before;
        // On a busy machine, a list that is no longer recent is requested once more.
        assert!((2..=3).contains(&count), "{count}");
        env.wait_for_args("app1", &[&seconds.to_string()]);
        most += 1;
        if count == 2 {
            break;
        }
    }
    assert!(most < 20, "it was never asked only twice");
}

//! The picture of a history in a real browser: headless Chromium draws it, says what it drew, and its pixels are looked at.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::str::FromStr;

use super::histories::{HEADER, history};
use super::{done, ordeal};

/// Chromium, where there is one: `CHROMIUM`, or by its names.
fn chromium() -> Option<PathBuf> {
    let named = std::env::var_os("CHROMIUM").map(PathBuf::from);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let names = ["chromium", "chromium-browser", "google-chrome"];
    let found = std::env::split_paths(&path).flat_map(|dir| names.map(|name| dir.join(name)));
    let found = named.into_iter().chain(found).find(|program| program.is_file());
    if found.is_none() {
        println!("skipped: no chromium here (set CHROMIUM, or apt-get install chromium)");
    }
    found
}

struct Browser {
    program: PathBuf,
    dir: tempfile::TempDir,
}

impl Browser {
    fn new() -> Option<Browser> {
        Some(Browser { program: chromium()?, dir: tempfile::tempdir().expect("a directory") })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn run(&self, flags: &[&str], page: &Path, hash: &str) -> String {
        let mut command = Command::new("timeout");
        command.arg("120").arg(&self.program);
        command.args(["--headless", "--no-sandbox", "--disable-gpu", "--window-size=1500,1000"]);
        command.arg(format!("--user-data-dir={}", self.path("profile").display()));
        command.args(flags).arg(format!("file://{}{hash}", page.display()));
        let done = done(command.env("HOME", self.dir.path()));
        done.exits(0).stdout
    }

    /// The page as it stands when its script has run.
    fn dom(&self, page: &Path, hash: &str) -> String {
        self.run(&["--dump-dom"], page, hash)
    }

    /// What `ordeal report` makes of a history.
    fn report(&self, text: &str) -> PathBuf {
        let (file, page) = (self.path("history.jsonl"), self.path("picture.html"));
        std::fs::write(&file, text).expect("write a history");
        done(ordeal(["report"]).arg(&file).arg("-o").arg(&page)).exits(0);
        page
    }

    /// How many colours a picture of the page has, and which share of it the most frequent one.
    fn colours(&self, page: &Path) -> (u32, f64) {
        let (shot, look) = (self.path("shot.png"), self.path("look.html"));
        self.run(&[&format!("--screenshot={}", shot.display())], page, "");
        let pixels = base64(&std::fs::read(&shot).expect("the screenshot"));
        let script = "addEventListener('load', () => { const c = document.createElement('canvas'); \
            const i = document.querySelector('img'); c.width = i.width; c.height = i.height; const p = c.getContext('2d'); \
            p.drawImage(i, 0, 0); const d = new Uint32Array(p.getImageData(0, 0, c.width, c.height).data.buffer); \
            const n = new Map(); for (const v of d) n.set(v, (n.get(v) ?? 0) + 1); \
            document.body.dataset.colours = n.size; document.body.dataset.most = Math.max(...n.values()) / d.length; });";
        let html =
            format!("<body><img src=\"data:image/png;base64,{pixels}\"><script>{script}</script></body>");
        std::fs::write(&look, html).expect("write a page");
        let dom = self.dom(&look, "");
        (number(&dom, "colours"), number(&dom, "most"))
    }
}

fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for three in bytes.chunks(3) {
        let joined =
            three.iter().fold(0_u32, |all, &byte| all << 8 | u32::from(byte)) << (8 * (3 - three.len()));
        for place in 0..4 {
            let letter = LETTERS[(joined >> (18 - 6 * place)) as usize & 63];
            text.push(if place > three.len() { '=' } else { char::from(letter) });
        }
    }
    text
}

/// A number in a data attribute.
fn number<T: FromStr>(dom: &str, name: &str) -> T {
    let at = dom.find(&format!("data-{name}=\"")).unwrap_or_else(|| panic!("no data-{name} in the page"));
    let value = dom[at..].split('"').nth(1).unwrap_or_default();
    value.parse().unwrap_or_else(|_not| panic!("data-{name} is `{value}`"))
}

#[test]
fn the_failing_few_are_drawn_and_told() {
    let Some(browser) = Browser::new() else { return };
    let page = browser.report(&history("{\"value\":\"b\"}"));
    let dom = browser.dom(&page, "");
    assert!(dom.contains("data-ready=\"yes\""), "the script ran to its end");
    let counts = ["lanes", "operations", "failing"].map(|name| number::<u32>(&dom, name));
    assert_eq!(counts, [4, 5, 1]);
    assert!(number::<u32>(&dom, "points") >= 2, "the key that is well has its points");
    let marks = number::<u32>(&dom, "marks");
    assert!(marks >= 3, "{marks}");
    let told = dom.split("id=\"told\"").nth(1).expect("the panel");
    for part in
        ["stale read, key k2", "c3 write c ✓", "cannot come next: it was answered \"b\"", "class=\"shows\""]
    {
        assert!(told.contains(part), "`{part}` is not told");
    }
    let (colours, most) = browser.colours(&page);
    assert!(colours > 100, "{colours} colours: lines and letters have more");
    assert!((0.2..0.97).contains(&most), "{most} of the picture is one colour");
}

#[test]
fn without_a_script_the_failing_part_is_a_table() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("bad.jsonl");
    std::fs::write(&file, history("{\"value\":\"b\"}")).expect("write a history");
    done(ordeal(["report"]).arg(&file)).exits(0);
    let page = std::fs::read_to_string(dir.path().join("report.html")).expect("beside the file");
    let still = page.split("<script").next().unwrap_or_default().to_owned()
        + page.rsplit("</script>").next().unwrap_or_default();
    for part in ["✗ Not linearizable", "▶ #5", "read = b", "<noscript>", "<svg", "cannot come next"] {
        assert!(still.contains(part), "`{part}` needs a script");
    }
    assert!(!page.contains("http"), "the report needs no network");
}

#[test]
fn a_hundred_thousand_operations_load() {
    let Some(browser) = Browser::new() else { return };
    let mut text = HEADER.to_owned();
    for op in 0..100_000_u64 {
        let (client, key, called) = (op % 20, op % 7, op * 50_000);
        let returned = called + 900_000;
        text += &format!(
            "{{\"invoke\":{{\"op\":{op},\"client\":{client},\"key\":\"k{key}\",\"time_ns\":{called},\"call\":{{\"write\":\"v{op}\"}}}}}}\n\
             {{\"return\":{{\"op\":{op},\"time_ns\":{returned},\"ok\":\"done\"}}}}\n"
        );
    }
    let page = browser.report(&text);
    let dom = browser.dom(&page, "#measure");
    assert!(dom.contains("data-ready=\"yes\""), "the script ran to its end");
    let counts = ["lanes", "operations", "points"].map(|name| number::<u32>(&dom, name));
    assert_eq!(counts, [20, 100_000, 100_000]);
    let drawn = number::<u32>(&dom, "drawn");
    assert!((1_000..50_000).contains(&drawn), "{drawn}: of those that fall on one pixel one is drawn");
    let (median, worst): (f64, f64) = (number(&dom, "frame-median-ms"), number(&dom, "frame-worst-ms"));
    println!("frames of 100,000 operations: median {median} ms, worst {worst} ms");
}

#[test]
fn reports_of_files_refuse_what_they_must() {
    let dir = tempfile::tempdir().expect("a directory");
    let here = |line: &str| done(ordeal(line.split_whitespace()).current_dir(dir.path()));
    std::fs::write(dir.path().join("good.jsonl"), history("{\"value\":\"c\"}")).expect("write a history");
    std::fs::write(dir.path().join("damaged.jsonl"), "{\"ordeal").expect("write a file");
    assert!(here("report good.jsonl").exits(0).stdout.ends_with("report.html\n"));
    here("report good.jsonl").exits(2).explains("report.html");
    here("report good.jsonl --again").exits(0);
    here("report damaged.jsonl -o x.html").exits(3).explains("damaged.jsonl");
    here("report missing.jsonl -o x.html").exits(2).explains("missing.jsonl");
    here("report missing.jsonl").exits(3).explains("missing.jsonl");
    here("report good.jsonl -o nowhere/x.html").exits(13).explains("nowhere");
    assert!(!dir.path().join("x.html").exists());
}

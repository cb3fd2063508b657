//! Every `--help` has two examples, and each example is at least no usage error.

use super::{done, ordeal};

#[test]
fn every_help_has_two_examples_that_work() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut seen = 0;
    let mut open = vec![Vec::new()];
    while let Some(path) = open.pop() {
        let help = done(ordeal(path.iter().map(String::as_str).chain(["--help"])).env("COLUMNS", "200"))
            .exits(0)
            .stdout;
        let children = subcommands(&help);
        for example in examples(&help, &path) {
            works(&example, dir.path());
        }
        open.extend(children.into_iter().map(|child| [path.clone(), vec![child]].concat()));
        seen += 1;
    }
    assert!(seen >= 22, "the walk finds all commands: {seen}");
}

fn subcommands(help: &str) -> Vec<String> {
    let lines = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let names = lines.take_while(|line| line.starts_with("  ")).filter(|line| !line.starts_with("   "));
    let names = names.filter_map(|line| line.split_whitespace().next());
    names.filter(|name| *name != "help").map(str::to_owned).collect()
}

fn examples(help: &str, path: &[String]) -> Vec<String> {
    // A line that ends with a backslash goes on in the next, as in a shell.
    let help = help.replace("\\\n", " ");
    let lines = help.lines().skip_while(|line| *line != "Examples:").skip(1).map(str::trim);
    let examples: Vec<String> = lines.filter(|line| line.starts_with("ordeal")).map(str::to_owned).collect();
    assert!(examples.len() >= 2, "`ordeal {}` has {} examples:\n{help}", path.join(" "), examples.len());
    examples
}

/// Runs it where there is nothing to find: any outcome but a usage error. What would stay in the foreground, or take long,
/// is run by other tests; here it only has to parse.
fn works(example: &str, dir: &std::path::Path) {
    // What follows three spaces is a remark.
    let command = example.split("   ").next().unwrap_or_default();
    let mut words = shell_words(command);
    assert_eq!(words.remove(0), "ordeal", "{example}");
    let stays = words.starts_with(&["cluster".to_owned(), "up".to_owned()])
        || words.starts_with(&["node".to_owned(), "start".to_owned()]);
    if stays {
        words.push("--help".to_owned());
    } else if words.first().is_some_and(|word| word == "run") && !words.contains(&"--dry-run".to_owned()) {
        words.push("--dry-run".to_owned());
    } else if words.first().is_some_and(|word| word == "kv") && !words.contains(&"--timeout".to_owned()) {
        // Nobody is there to answer.
        words.extend(["--timeout".to_owned(), "100ms".to_owned()]);
    }
    if words.iter().any(|word| word == "--watch") {
        return;
    }
    let mut command = ordeal(&words);
    command.current_dir(dir).env("ORDEAL_ENDPOINTS", "127.0.0.1:9").stdin(std::process::Stdio::null());
    let result = done(&mut command);
    let is_usage = result.code == Some(2) && result.stderr.contains("Usage:");
    assert!(!is_usage, "`{example}` is no command:\n{}", result.stderr);
    assert!(!result.stderr.contains("panicked"), "`{example}`:\n{}", result.stderr);
}

/// Splits as a shell does, as far as quotes go.
fn shell_words(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut quote = None;
    for letter in line.chars() {
        match (quote, letter) {
            (None, '"' | '\'') => quote = Some(letter),
            (Some(open), _) if open == letter => quote = None,
            (None, ' ') => words.push(String::new()),
            (_, letter) => words.last_mut().expect("one word at least").push(letter),
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

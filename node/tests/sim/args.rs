//! What is asked of the simulator on its command line.

/// What to play, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Args {
    /// These seeds; `None`: nothing but the test cases.
    pub seeds: Option<std::ops::Range<u64>>,
    /// Simulated seconds of each.
    pub seconds: u64,
    /// A script to play instead.
    pub script: Option<String>,
    /// Print the course of a world, on stderr.
    pub trace: bool,
    /// Reduce each failing seed to a short script.
    pub shrink: bool,
    /// Worlds that run side by side.
    pub threads: usize,
    /// Stop at the first failing seed.
    pub stop: bool,
    /// Names of test cases, and the flags of cargo's own test runner that mean something here.
    pub filters: Vec<String>,
    pub list: bool,
    pub exact: bool,
}

/// Simulated seconds of a seed, unless said otherwise.
pub const SECONDS: u64 = 60;

pub const USAGE: &str = "\
The simulator: whole clusters in virtual time, each from a seed.

  cargo sim                            its test cases, a sample of seeds among them
  cargo sim --seed=17                  this seed
  cargo sim --seeds=10000 [--from=N]   so many seeds
  cargo sim --script=FILE              a script, as --shrink prints it

  --seconds=60   simulated seconds of each seed
  --trace        print what happens, on stderr
  --shrink       reduce a failing seed, or script, to a short script, on stdout
  --stop         stop at the first failing seed
  --threads=N    worlds side by side; by default one a core
";

impl Args {
    /// Reads the words after the program's name; the error is for a person.
    pub fn parse(words: impl Iterator<Item = String>) -> Result<Args, String> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let mut args = Args {
            seeds: None,
            seconds: SECONDS,
            script: None,
            trace: false,
            shrink: false,
            threads: cores,
            stop: false,
            filters: Vec::new(),
            list: false,
            exact: false,
        };
        let (mut seed, mut seeds, mut from) = (None, None, 0);
        let mut words = words.peekable();
        while let Some(word) = words.next() {
            let (name, value) = match word.split_once('=') {
                Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
                None => (word.clone(), None),
            };
            let mut text = || {
                let value = value.clone().or_else(|| words.next_if(|next| !next.starts_with("--")));
                value.ok_or_else(|| format!("{name} needs a value\n{USAGE}"))
            };
            let mut number = || {
                let text = text()?;
                text.parse::<u64>().map_err(|_| format!("{name}={text} is no number"))
            };
            match name.as_str() {
                "--seed" => seed = Some(number()?),
                "--seeds" => seeds = Some(number()?),
                "--from" => from = number()?,
                "--seconds" => args.seconds = number()?.max(2),
                "--threads" | "--test-threads" => args.threads = number()?.clamp(1, 256) as usize,
                "--script" => args.script = Some(text()?),
                "--trace" => args.trace = true,
                "--shrink" => args.shrink = true,
                "--stop" => args.stop = true,
                "--list" => args.list = true,
                "--exact" => args.exact = true,
                "--format" | "--color" | "--skip" | "-Z" => drop(text()?),
                "--help" | "-h" => return Err(USAGE.to_owned()),
                "--nocapture" | "--no-capture" | "--show-output" | "--quiet" | "-q" | "--include-ignored" => {
                }
                "--ignored" => args.filters.push("none is ignored".to_owned()),
                _ if word.starts_with('-') => return Err(format!("{word} is not known\n{USAGE}")),
                _ => args.filters.push(word),
            }
        }
        args.seeds = match (seed, seeds) {
            (Some(_), Some(_)) => return Err("--seed is one seed, --seeds so many of them".to_owned()),
            (Some(seed), None) => Some(seed..seed + 1),
            (None, Some(count)) => Some(from..from.saturating_add(count)),
            (None, None) => None,
        };
        Ok(args)
    }
}

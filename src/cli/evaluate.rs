//! `evaluate`: scores of the chain against reference annotations.

use super::{Failure, QrsArgs};
use crate::evaluate::qrs as scores;

/// Scores beat detection on every record of a folder.
pub(super) fn qrs(args: &QrsArgs) -> Result<(), Failure> {
    let config = args.config.load()?;
    let options = scores::Options {
        channel: args.channel,
        skip_seconds: args.skip,
    };
    let report = scores::run(&args.dir, &config.dsp, &options).map_err(color_eyre::Report::from)?;
    #[expect(clippy::print_stdout, reason = "the command's purpose")]
    {
        if args.json {
            println!("{}", report.to_json());
        } else {
            print!("{report}");
        }
    }
    Ok(())
}

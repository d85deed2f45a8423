"""S3 buckets as folders of a runner: s3fs, watched over, and why it does not work when so."""

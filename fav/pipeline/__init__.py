"""The one bridge between videos and the job system: which tasks a job has, what each needs, and how it runs."""

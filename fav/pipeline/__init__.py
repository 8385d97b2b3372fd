"""Connect videos with the job system: which tasks a job has, what each task needs, and how it runs."""

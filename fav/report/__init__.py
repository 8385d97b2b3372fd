"""A report about a job on one page of HTML: `data` reads its results, `plots` draws, `html` writes the page."""

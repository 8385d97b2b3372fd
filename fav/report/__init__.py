"""What became of a job, for people: one page of HTML. `facts` reads them off the share, `plots` draws, `page` writes."""

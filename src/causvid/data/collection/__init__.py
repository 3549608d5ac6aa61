"""A collection of videos that somebody has, on its way to shards of latents.

items        which videos there are, and their captions
survey       each is decoded once, small: is it sound, where do scenes change, what does it look like
plan         which clips are taken: no duplicates, in an order that is then fixed
shards       latents, encoded captions, captions and thumbnails, in files of equal numbers of clips
reader       the way back: clips by number, and the order in which training sees them
page         all of it to look at in a browser
"""

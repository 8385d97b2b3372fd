"""General functions: read and write files, encode images, hash inputs, format numbers.

atomic, reading, safe_path          write files, read them, and check paths
fingerprint                         the hash of an input
images, image_sequence              images, and numbered images
curve                               a number that changes over time
prefetch, malloc, opencv            threads; memory; types of OpenCV
table, text, plot_text              tables, numbers in words, text in plots
"""

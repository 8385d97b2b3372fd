"""Stylize the frames of a video one after the other, and postprocess them for the film.

settings                            what a user can choose
indexing, timeline                  find the cuts; the frames, shots and chains that are known
chain, segments                     frames that depend on each other; frames that are encoded together
recurrence, cube_recurrence         one frame from the one before it; the same for a 360° video (`cube`)
engine                              decode, compute flow, and run the network
outside, blend, postprocess         two styles in one film; colors and strength; size and mask
trial, images, live                 single frames, images, and a camera
mask_carrying, flow_export          write masks and flow to files
"""

"""Files by digest, tickets for exclusive ones, and the HTTPS face that devices pull from."""

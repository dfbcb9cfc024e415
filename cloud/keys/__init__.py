"""Keys of the cloud: TUF repository, certificate authority of devices, enrolment, director signature."""

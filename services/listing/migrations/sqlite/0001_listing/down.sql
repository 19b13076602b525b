DROP TABLE reviews;
DROP TABLE holds;
DROP TABLE nights;
DROP TABLE listings;
